//! Layer 0, the vocabulary: identifiers, time, limits and the codec that every other layer shares.
//!
//! **Architecture invariant:** nothing here imports another module of this crate, does I/O or
//! reads a clock.

pub mod bytes;
pub mod codec;
pub mod id;
pub mod limits;
pub(crate) mod planted;
pub mod thread;
pub mod time;

pub use bytes::{Malformed, Reader};
pub use id::{
    CampaignId, ContentHash, CustomerId, DeliveryId, EnrollmentId, EventId, FlowId, InstanceId,
    Lsn, PartitionId, SegmentId, StepId,
};
pub use limits::Limits;
pub use time::{Clock, Span, Timestamp};
