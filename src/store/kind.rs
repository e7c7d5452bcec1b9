//! Which library keeps the maps of a directory: chosen when it is made, and told by the name of its
//! file ever after.

use std::path::{Path, PathBuf};

use super::{Error, there};

/// A library below the seam.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StoreKind {
    /// sled, which every build has.
    #[default]
    Sled,
    /// redb, which a build with the feature `store-redb` has.
    Redb,
}

impl StoreKind {
    /// Every kind, in one order.
    pub const ALL: [Self; 2] = [Self::Sled, Self::Redb];

    /// What it is called.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sled => "sled",
            Self::Redb => "redb",
        }
    }

    /// The file that it keeps the maps in.
    pub const fn file(self) -> &'static str {
        match self {
            Self::Sled => "db",
            Self::Redb => "db.redb",
        }
    }

    /// That file in `dir`.
    pub fn path(self, dir: &Path) -> PathBuf {
        dir.join(self.file())
    }

    /// What is kept in `dir`, if anything is.
    pub fn find(dir: &Path) -> Result<Option<Self>, Error> {
        let mut found = None;
        for kind in Self::ALL {
            if there::is_any(&kind.path(dir))? && found.replace(kind).is_some() {
                let what = "it holds the files of two stores".to_owned();
                return Err(Error::Damaged { what, place: dir.display().to_string() });
            }
        }
        Ok(found)
    }

    /// What to open in `dir`: what is kept there, which must be what is asked for, or in a new one
    /// that, and sled where nothing is.
    pub(super) fn decide(dir: &Path, asked: Option<Self>) -> Result<Self, Error> {
        let path = || dir.to_owned();
        let kind = match (Self::find(dir)?, asked) {
            (Some(found), Some(asked)) if found != asked => {
                let (found, asked) = (found.name(), asked.name());
                return Err(Error::OtherStore { path: path(), found, asked });
            }
            (found, asked) => found.or(asked).unwrap_or_default(),
        };
        if kind == Self::Redb && cfg!(not(feature = "store-redb")) {
            return Err(Error::NoSuchStore { path: path(), kind: kind.name() });
        }
        Ok(kind)
    }
}
