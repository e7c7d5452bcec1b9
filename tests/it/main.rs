//! The tests that see Onward from outside.

// `cfg(test)` says nothing new here but tells the linter that these are tests.
#[cfg(feature = "cli")]
#[cfg(test)]
mod cli;
#[cfg(test)]
mod embed;
#[cfg(test)]
mod format;
#[cfg(test)]
mod scenarios;
#[cfg(test)]
mod tidy;
