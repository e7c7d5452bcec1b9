//! Every stored value decoded, to say which are damaged.

use super::{Error, Row, Store, Tree, chunk, page, timers};

/// A kind of stored value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Chunks of the log.
    Chunks,
    /// Pages of rows.
    Pages,
    /// Pieces of timer runs.
    Timers,
}

impl Part {
    /// Every kind.
    pub(crate) const ALL: [Self; 3] = [Self::Chunks, Self::Pages, Self::Timers];

    const fn tree(self) -> Tree {
        match self {
            Self::Chunks => Tree::Log,
            Self::Pages => Tree::Rows,
            Self::Timers => Tree::Timers,
        }
    }

    fn check<R: Row>(self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        let place = || format!("{self:?} {}", key.escape_ascii());
        let checked = match self {
            Self::Chunks => chunk::decode(value).map(drop),
            Self::Pages => page::decode_page::<R>(page::page_lower(key).unwrap_or(key), value)
                .and_then(|page| page.check()),
            Self::Timers => timers::decode_piece(value).map(drop),
        };
        checked.map_err(Error::malformed(place))
    }
}

/// Tells of every value of `part` that is damaged: where, and why. Ends where the store fails.
pub(crate) fn each<R: Row>(store: &dyn Store, part: Part, tell: &mut dyn FnMut(String, String)) {
    let mut key = Vec::new();
    loop {
        match store.above(part.tree(), &key) {
            Ok(None) => return,
            Ok(Some((next, value))) => {
                if let Err(error) = part.check::<R>(&next, &value) {
                    tell(format!("{part:?} {}", next.escape_ascii()), error.to_string());
                }
                key = next;
            }
            Err(error) => {
                return tell(format!("{part:?} after {}", key.escape_ascii()), error.to_string());
            }
        }
    }
}
