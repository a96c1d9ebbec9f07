"""What the landing zone's server speaks, whatever a library offers: no SHA-1, no CBC, and no
chacha20-poly1305 (Terrapin)."""

KEY_EXCHANGES = (
    "mlkem768x25519-sha256",
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
    "ecdh-sha2-nistp256",
    "ecdh-sha2-nistp384",
    "ecdh-sha2-nistp521",
    "diffie-hellman-group14-sha256",
)
"""Of these, what the installed libraries have."""
FAST_CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")
CIPHERS = (*FAST_CIPHERS, "aes256-ctr", "aes128-ctr")
"""OpenSSH, which has had GCM since 2013 and yet asks for CTR before, is offered the fast ones only:
the others cost half as much again here. Many an older client has nothing but CTR."""
MACS = (
    "hmac-sha2-256-etm@openssh.com",
    "hmac-sha2-512-etm@openssh.com",
    "hmac-sha2-256",
    "hmac-sha2-512",
)
SIGNATURES = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-256",
    "rsa-sha2-512",
)
