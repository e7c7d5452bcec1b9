//! Layer 1, what an operator or a caller writes down: customers, events, segments, flows and
//! campaigns, the conditions and templates in them, and how each is read and refused.
//!
//! **Architecture invariant:** pure. Nothing here does I/O, reads a clock or starts a thread, and
//! only `base` is imported. Every reader is total: any bytes give a value or say what is wrong.

pub mod activity;
pub mod campaign;
pub mod condition;
pub mod customer;
pub mod definitions;
pub mod event;
pub mod fields;
pub mod finding;
pub mod flow;
pub mod json;
pub mod line;
mod parse;
pub mod segment;
pub mod step;
pub mod template;
pub mod trigger;
mod validate;
mod weight;

pub use activity::Activity;
pub use campaign::Campaign;
pub use condition::{Condition, Expression, Facts, Needs, Place, Unknown};
pub use customer::{Customer, CustomerUpdate, PushKeys, Subscription};
pub use definitions::{Definitions, Document, Known};
pub use event::Event;
pub use fields::Fields;
pub use finding::{Fault, Finding, Findings, Severity};
pub use flow::Flow;
pub use json::JsonText;
pub use line::{LineCode, LineError};
pub use segment::{Membership, Segment};
pub use step::{Action, After, Exit, SendEmail, SendPush, Step, Urgency, Wait};
pub use template::{Form, RenderError, Template};
pub use trigger::{EntryRule, Trigger};

// Worker threads share the flows.
const _: () = {
    const fn shared<T: Send + Sync + 'static>() {}
    shared::<Definitions>();
};
