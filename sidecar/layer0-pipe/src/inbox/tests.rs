//! Tests of the inbox against packets of a real outbox.
//!
//! `round_trip`: what arrives whole; `cuts`: what arrives in pieces; `hostile`: what nobody sent; `folder`: how
//! files are found, kept and removed; `attacker`: who can write into both folders; `garbage`: what goes when; `cost`: with very many files; `mirror`: all of it at random. Read first: `round_trip`.

mod attacker;
mod cost;
mod cuts;
mod folder;
mod garbage;
mod hostile;
mod mirror;
mod round_trip;
