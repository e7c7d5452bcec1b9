//! Bugs on purpose. A build with `--cfg planted` has every one of them, and `ONWARD_PLANTED=name`
//! turns one on; in any other build [`is_planted!`](crate::base::planted::is_planted) is `false`.
//! `tests/planted` runs the tests against each and tells which of them found it.

/// Whether the bug of this name is there.
macro_rules! is_planted {
    ($name:literal) => {
        cfg!(planted) && $crate::base::planted::chosen($name)
    };
}
pub(crate) use is_planted;

/// Whether `name` is the one that is turned on.
#[cfg(planted)]
pub(crate) fn chosen(name: &str) -> bool {
    static CHOSEN: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    CHOSEN.get_or_init(|| std::env::var("ONWARD_PLANTED").ok()).as_deref() == Some(name)
}

/// Nothing is planted in this build.
#[cfg(not(planted))]
pub(crate) const fn chosen(_name: &str) -> bool {
    false
}
