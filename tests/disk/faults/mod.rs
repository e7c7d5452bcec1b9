//! Every n-th operation fails, once or from then on, while the engine runs on the disk: nothing
//! acknowledged is lost, the error says what and where, and after healing all goes on.

mod cache;
mod commands;
mod copies;
mod library;
mod program;
mod reads;

use fuser::Errno;

use crate::fault::{Fault, Kind};

/// What goes wrong with which operations.
const FAULTS: [(Kind, Fault); 17] = [
    (Kind::Open, Fault::Error(Errno::EIO)),
    (Kind::Open, Fault::Gone),
    (Kind::Create, Fault::Error(Errno::EIO)),
    (Kind::Create, Fault::Full),
    (Kind::Create, Fault::ReadOnly),
    (Kind::Write, Fault::Error(Errno::EIO)),
    (Kind::Write, Fault::Error(Errno::ENOSPC)),
    (Kind::Write, Fault::Short),
    (Kind::Write, Fault::Full),
    (Kind::Write, Fault::ReadOnly),
    (Kind::Write, Fault::Gone),
    (Kind::Rename, Fault::Error(Errno::EIO)),
    (Kind::Rename, Fault::Full),
    (Kind::Rename, Fault::Gone),
    (Kind::Sync, Fault::Error(Errno::EIO)),
    (Kind::Sync, Fault::Error(Errno::ENOSPC)),
    (Kind::Sync, Fault::Gone),
];
