-- Runs once, when the server's volume is new: Dagster's history is no part of the warehouse.
CREATE DATABASE dagster;
