//! The tests that see Onward from outside.

mod scenarios;
