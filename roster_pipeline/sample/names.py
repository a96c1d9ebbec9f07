"""Names of people of many origins, and of districts and schools. Data, and how it is indexed."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

import numpy as np

from roster_pipeline.oneroster.standard import RACES
from roster_pipeline.sample.columns import Ints, Text, words


def _list(text: str) -> tuple[str, ...]:
    return tuple(unicodedata.normalize("NFC", name.strip()) for name in text.split(","))


@dataclass(frozen=True)
class Origin:
    """Where a family's names come from.

    share: how common it is, beside the others. race: index into `standard.RACES`. country: of
    birth, for the few who were born abroad. double: share of families with two family names.
    """

    share: int
    race: int
    country: str
    family: tuple[str, ...]
    female: tuple[str, ...]
    male: tuple[str, ...]
    hispanic: bool = False
    double: float = 0.0


_NATIVE, _ASIAN, _BLACK, _PACIFIC, _WHITE = range(5)
assert RACES[_WHITE] == "white"

ORIGINS: tuple[Origin, ...] = (
    Origin(
        260,
        _WHITE,
        "GB",
        _list(
            "Smith, Johnson, Miller, Anderson, Taylor, Clark, Walker, Harris, Wright, Bennett, "
            "Cooper, Hughes, Parker, Foster, Reynolds, Sullivan, O'Brien, O'Connor, O'Neill, "
            "McCarthy, MacDonald, McKenna, Fitzgerald, Campbell, Fraser, Whitfield, Hollister, "
            "Ashworth, Pemberton, St. James"
        ),
        _list(
            "Emma, Olivia, Charlotte, Abigail, Grace, Hannah, Claire, Megan, Caitlin, Siobhán, "
            "Nora, Eleanor, Lucy, Rose, Mary-Kate, Harper, Quinn, Paige, Brooke, Savannah"
        ),
        _list(
            "Liam, Noah, James, William, Henry, Jack, Owen, Connor, Ethan, Logan, Samuel, Thomas, "
            "Seán, Aidan, Declan, Wyatt, Mason, Carter, Graham, Elliott"
        ),
    ),
    Origin(
        250,
        _WHITE,
        "MX",
        _list(
            "García, Rodríguez, Martínez, Hernández, López, González, Pérez, Sánchez, Ramírez, "
            "Torres, Flores, Rivera, Gómez, Díaz, Reyes, Morales, Cruz, Ortiz, Gutiérrez, Chávez, "
            "Ramos, Mendoza, Ruiz, Castillo, Jiménez, Vásquez, Muñoz, Peña, de la Cruz, de León"
        ),
        _list(
            "Sofía, Valentina, Camila, Isabella, Lucía, María José, Ximena, Daniela, Gabriela, "
            "Elena, Marisol, Guadalupe, Renata, Paloma, Inés, Itzel, Esperanza, Ana Sofía"
        ),
        _list(
            "Santiago, Mateo, Diego, José, Luis, Carlos, Ángel, Alejandro, Emiliano, Jesús, "
            "Andrés, Miguel, Joaquín, Rafael, Tomás, Iván, Juan Pablo, Fernando"
        ),
        hispanic=True,
        double=0.4,
    ),
    Origin(
        150,
        _BLACK,
        "US",
        _list(
            "Williams, Jackson, Washington, Jefferson, Robinson, Coleman, Booker, Banks, Gaines, "
            "Mosley, Dorsey, Bolden, Hairston, Merriweather, Tillman, Freeman, Grant, Hayes, "
            "Ellison, Baptiste"
        ),
        _list(
            "Aaliyah, Imani, Jada, Kiara, Ebony, Nia, Destiny, Zuri, Ja'Nae, D'Asia, Tiana, "
            "Simone, Maya, Keisha, Amara, Serenity"
        ),
        _list(
            "Malik, Jamal, Isaiah, Elijah, Xavier, DeShawn, D'Andre, Marcus, Terrence, Andre, "
            "Jalen, Kareem, Tyrell, Darius, Quincy, Micah"
        ),
    ),
    Origin(
        50,
        _WHITE,
        "DE",
        _list(
            "Schmidt, Müller, Schäfer, Köhler, Weiß, Krüger, Hoffmann, Lindström, Sørensen, "
            "Ødegård, Johansson, Nygaard, Bjørnson, van der Berg, van Dijk, Virtanen"
        ),
        _list("Greta, Annika, Ingrid, Freya, Heidi, Käthe, Saga, Linnéa, Elsa, Maren, Åsa, Lotte"),
        _list(
            "Lukas, Jürgen, Björn, Søren, Nils, Matthias, Erik, Jonas, Kai, Anders, Pieter, Emil"
        ),
    ),
    Origin(
        40,
        _WHITE,
        "IT",
        _list(
            "Rossi, Esposito, Colombo, D'Angelo, D'Amico, De Luca, Di Stefano, Ferrari, Santoro, "
            "Caruso, Papadopoulos, Nikolaidis, Silva, Gonçalves, Conceição, Araújo"
        ),
        _list("Giulia, Chiara, Bianca, Francesca, Lucia, Eleni, Sofia, Thalia, Beatriz, Inês, Zoë"),
        _list(
            "Luca, Matteo, Giovanni, Nicolò, Dante, Marco, Nikos, Andreas, João, Tiago, Leonardo"
        ),
    ),
    Origin(
        45,
        _WHITE,
        "PL",
        _list(
            "Kowalski, Nowak, Wiśniewski, Wójcik, Zieliński, Dvořák, Novotný, Černý, Horváth, "
            "Szabó, Popescu, Ionescu, Petrović, Jovanović, Ivanov, Shevchenko, Bondarenko, Łukasik"
        ),
        _list("Zofia, Agnieszka, Małgorzata, Katya, Oksana, Eliška, Ilona, Mila, Daria, Jovana"),
        _list("Jakub, Łukasz, Michał, Ondřej, Dmitri, Taras, Bohdan, Nikola, Zoltán, Andrei"),
    ),
    Origin(
        20,
        _BLACK,
        "HT",
        _list(
            "Jean-Baptiste, Pierre-Louis, Désir, Toussaint, Lafleur, Beauvoir, Étienne, Dieudonné, "
            "Laurent, Lefèvre, François, Saint-Fleur"
        ),
        _list("Anaïs, Chloé, Marie-Ange, Noémie, Élodie, Fabienne, Mirlande, Geneviève"),
        _list("Jean-Luc, Étienne, Rémy, Wilner, Fritz, Cédric, Emmanuel, Théo"),
    ),
    Origin(
        35,
        _BLACK,
        "NG",
        _list(
            "Okafor, Adeyemi, Okonkwo, Eze, Balogun, Mensah, Owusu, Asante, N'Diaye, Diallo, "
            "Traoré, Koné, Touré, Kamara, Nkrumah, Abiola-Cole"
        ),
        _list("Chiamaka, Ngozi, Ifeoma, Adaeze, Folake, Abena, Akosua, Aïssatou, Fatoumata, Temi"),
        _list("Chukwuemeka, Oluwaseun, Obinna, Kwame, Kofi, Mamadou, Ibrahima, Tunde, Femi, Yaw"),
    ),
    Origin(
        20,
        _BLACK,
        "ET",
        _list(
            "Tesfaye, Bekele, Haile, Gebremariam, Abdi, Warsame, Farah, Mwangi, Otieno, Kiprop, "
            "Ng'ang'a, Habimana"
        ),
        _list("Selam, Hanna, Hodan, Ayaan, Wanjiru, Akinyi, Meron, Ifrah"),
        _list("Dawit, Yonas, Abdirahman, Liban, Kamau, Baraka, Robel, Jean de Dieu"),
    ),
    Origin(
        30,
        _WHITE,
        "LB",
        _list(
            "Haddad, Khoury, Al-Sayed, El-Amin, Mansour, Nasser, Al-Khatib, Hosseini, Tehrani, "
            "Yılmaz, Demir, Özdemir, Ben-David, Azoulay"
        ),
        _list("Layla, Fatima, Yasmin, Noor, Zahra, Mariam, Shirin, Elif, Rania, Talia"),
        _list("Omar, Yusuf, Ahmad, Karim, Tariq, Hassan, Cyrus, Emre, Zaid, Noam"),
    ),
    Origin(
        35,
        _ASIAN,
        "IN",
        _list(
            "Patel, Sharma, Gupta, Singh, Kaur, Reddy, Iyer, Nair, Chowdhury, Rahman, Khan, Malik, "
            "Fernando, Perera, Subramaniam, Venkataraman"
        ),
        _list("Priya, Ananya, Aditi, Kavya, Meera, Zara, Simran, Lakshmi, Nisha, Tanvi"),
        _list("Arjun, Rohan, Aarav, Vikram, Sanjay, Imran, Harpreet, Karthik, Dev, Nikhil"),
    ),
    Origin(
        30,
        _ASIAN,
        "CN",
        _list(
            "Wang, Li, Zhang, Chen, Liu, Huang, Lin, Wu, Zhao, Ouyang, Lü, Xu, Chan, Leung, Cheung"
        ),
        _list("Mei, Xin Yi, Jing, Li Na, Yan, Hui, Wei, Lan, Grace, Jia"),
        _list("Wei, Jun, Hao, Ming, Zhi Hao, Bo, Feng, Kevin, Yichen, Lei"),
    ),
    Origin(
        30,
        _ASIAN,
        "VN",
        _list("Nguyễn, Trần, Lê, Phạm, Vũ, Đặng, Bùi, Đỗ, Vang, Xiong, Yang, Lor, Keo, Sok"),
        _list("Linh, Thảo, Hương, Mai Anh, Ngọc, Pa Nhia, Kia, Sreymom, Vy, Trang"),
        _list("Minh, Tuấn, Đức, Quang, Huy, Tou, Kong Meng, Sophal, Khang, Bảo"),
    ),
    Origin(
        20,
        _ASIAN,
        "KR",
        _list("Kim, Park, Lee, Choi, Jung, Kang, Tanaka, Suzuki, Satō, Watanabe, Itō, Yamamoto"),
        _list("Ji-woo, Seo-yeon, Min-ji, Hana, Yuki, Sakura, Aiko, Ha-eun"),
        _list("Min-jun, Ji-ho, Do-yun, Haruto, Kenji, Sōta, Hiroshi, Joon"),
    ),
    Origin(
        30,
        _ASIAN,
        "PH",
        _list(
            "Santos, dela Rosa, Bautista, Villanueva, Dimaculangan, Macaraeg, Pangilinan, "
            "Magsaysay, Aquino, Salonga"
        ),
        _list("Althea, Angelica, Maricel, Jasmine, Bea, Rosario, Ligaya, Divina"),
        _list("Gabriel, Jericho, Paolo, Rodel, Joshua, Crisanto, Emilio, Nathaniel"),
    ),
    Origin(
        15,
        _NATIVE,
        "US",
        _list(
            "Begay, Yazzie, Tsosie, Benally, Nez, Whitehorse, Red Cloud, Two Bulls, Little Bear, "
            "Tallchief"
        ),
        _list("Aiyana, Winona, Shandiin, Kateri, Dezbah, Tallulah, Cheyenne, Nizhoni"),
        _list("Ahiga, Dakota, Tate, Elan, Chayton, Nodin, Takoda, Hastiin"),
    ),
    Origin(
        15,
        _PACIFIC,
        "WS",
        _list(
            "Kealoha, Kahananui, Tuiasosopo, Fa'asavalu, Leota, Tupou, Taufa, Māhoe, Kamakawiwo'ole"
        ),
        _list("Leilani, Moana, Kailani, Sina, 'Ana, Mele, Hina, Noelani"),
        _list("Keoni, Kaimana, Sione, Tavita, Manu, Ikaika, Semisi, Kalani"),
    ),
)


def slug(name: str) -> str:
    """The name as it stands in an e-mail address: `Nguyễn` is `nguyen`, `O'Brien` is `obrien`."""
    plain = name.translate(str.maketrans("ØøŁłĐđıß", "OoLlDdis"))
    return re.sub(r"[^a-z]", "", unicodedata.normalize("NFKD", plain).lower())


class NamePool:
    """Names of one kind of all origins in one array, so that a name is drawn as a position."""

    def __init__(self, by_origin: list[tuple[str, ...]]) -> None:
        flat = [name for names in by_origin for name in names]
        self.sizes = np.array([len(names) for names in by_origin])
        self.starts = np.cumsum(self.sizes) - self.sizes
        self.names: Text = words(flat)
        self.slugs: Text = words(slug(name) for name in flat)

    def draw(self, rng: np.random.Generator, origin: Ints) -> Ints:
        """The position of a random name for each origin."""
        size = self.sizes[origin]
        drawn: Ints = self.starts[origin] + (rng.random(len(origin)) * size).astype(np.int64)
        return drawn


FAMILY = NamePool([origin.family for origin in ORIGINS])
GIVEN = NamePool([o.female for o in ORIGINS] + [o.male for o in ORIGINS])
"""The girls' and women's names of all origins, then the boys' and men's."""

DISTRICTS = _list(
    "Cedar Valley, Harbor Bluffs, Prairie Fork, Stonebridge, Silver Lake, Juniper Springs, "
    "Fairhaven, Copper Ridge, Maple Grove, Sandhill, Riverbend, North Mesa"
)
_FIRST = _list(
    "Cedar, Maple, Oak, Willow, Juniper, Aspen, Birch, Magnolia, Sycamore, Hickory, Pine, Laurel, "
    "River, Prairie, Mountain, Meadow, Canyon, Harbor, Lake, Valley, Sunset, Eagle, Heron, Falcon, "
    "Fox, Deer, Bluebird, Copper, Silver, Stone, Liberty, Heritage, Pioneer, Discovery, Horizon"
)
_SECOND = _list(
    "Ridge, Grove, Creek, Springs, Hill, Park, Crossing, Run, Point, Hollow, View, Bend, Glen, "
    "Heights, Trail, Landing, Bluff, Terrace, Meadows, Ranch"
)
_PEOPLE = _list(
    "Rosa Parks, César Chávez, Katherine Johnson, Frederick Douglass, Sojourner Truth, "
    "Ellen Ochoa, Thurgood Marshall, Dolores Huerta, Rachel Carson, Amelia Earhart, "
    "Benjamin Banneker, Maya Angelou, Sonia Sotomayor, Jackie Robinson, Helen Keller, Sally Ride, "
    "Wilma Mankiller, Patsy Mink, Langston Hughes, Martin Luther King Jr."
)


def school_stems(rng: np.random.Generator, count: int) -> list[str]:
    """That many different names for schools, without the level (`Cedar Ridge`)."""
    places = [f"{first} {second}" for first in _FIRST for second in _SECOND if first != second]
    stems = [places[i] for i in rng.permutation(len(places))]
    honoured = [_PEOPLE[i] for i in rng.permutation(len(_PEOPLE))]
    for place, person in enumerate(honoured):
        stems.insert(place * 5 + 2, person)
    more = -(-count // len(stems))
    return [f"{stem} No. {n}" if n > 1 else stem for n in range(1, more + 1) for stem in stems][
        :count
    ]
