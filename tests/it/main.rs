//! The tests that see Onward from outside.

#[cfg(feature = "cli")]
#[cfg(test)]
mod cli;
#[cfg(test)]
mod embed;
#[cfg(test)]
mod scenarios;
#[cfg(test)]
mod tidy;
