//! Every bound in one place, with the relations between them.
//!
//! What bounds nothing that comes from outside stands with the one algorithm that it belongs to: sizes
//! of buffers, prices, pauses between two looks, and how a format splits its text.
//!
//! Constants are part of the formats or of what callers may send; [`Limits`] are the ones that an
//! operator or a test may set.

use super::time::Span;

/// Bytes of an identifier that a caller chooses.
pub const ID_BYTES_MAX: usize = 256;
/// Bytes of one line of customers or events.
pub const LINE_BYTES_MAX: usize = 48 * 1024;
/// Bytes of the names of events, flows, segments and campaigns, of time zones and of locales.
pub const NAME_BYTES_MAX: usize = 256;
/// Bytes of an e-mail address.
pub const EMAIL_BYTES_MAX: usize = 254;
/// Bytes of one customer's attributes, as JSON.
pub const ATTRIBUTES_BYTES_MAX: usize = 32 * 1024;
/// Push subscriptions of one customer.
pub const SUBSCRIPTIONS_MAX: usize = 16;
/// Bytes of one push subscription, endpoint and keys.
pub const SUBSCRIPTION_BYTES_MAX: usize = 1024;
/// Nesting of JSON that callers send.
pub const JSON_DEPTH_MAX: usize = 64;

/// Bytes of the definitions documents that are published together.
pub const DEFINITIONS_BYTES_MAX: usize = 64 * 1024 * 1024;
/// JSON values in these documents together: a value takes far more memory than its two bytes.
pub const DEFINITIONS_VALUES_MAX: usize = 2_000_000;
/// Bytes of memory, as reckoned before anything is compiled, for the conditions and templates of
/// the definitions that are published together.
pub const COMPILED_BYTES_MAX: usize = 256 * 1024 * 1024;
/// The same for all definitions of a directory, old versions of flows included: they are compiled
/// when it is opened.
pub const CATALOG_BYTES_MAX: usize = 512 * 1024 * 1024;
/// What a compiled condition takes besides its text, as reckoned.
pub const CONDITION_WEIGHT: usize = 4 * 1024;
/// What a compiled template takes besides its text, as reckoned.
pub const TEMPLATE_WEIGHT: usize = 12 * 1024;
/// What a byte of a condition or template takes once it is compiled, as reckoned.
pub const COMPILED_BYTE_WEIGHT: usize = 32;
/// What a definition takes besides its conditions and templates, as reckoned.
pub const DEFINITION_WEIGHT: usize = 1024;
/// What an element of a list of members takes besides its text, as reckoned.
pub const MEMBER_WEIGHT: usize = 64;
/// Bytes of one flow, as JSON.
pub const FLOW_BYTES_MAX: usize = 1024 * 1024;
/// Steps of one flow.
pub const STEPS_MAX: usize = 1_000;
/// Flows of one directory.
pub const FLOWS_MAX: usize = 10_000;
/// Segments of one directory.
pub const SEGMENTS_MAX: usize = 10_000;
/// Campaigns of one directory.
pub const CAMPAIGNS_MAX: usize = 1_000;
/// Flows that events of one name may start: each is judged for every such event.
pub const EVENT_FLOWS_MAX: usize = 1_000;
/// Input files that one directory remembers, and so reads in its life.
pub const INPUTS_MAX: usize = 100_000;
/// Members of one segment's list.
pub const MEMBERS_MAX: usize = 1_000_000;
/// How deep rules of segments ask for each other.
pub const SEGMENT_DEPTH_MAX: usize = 16;
/// Flows of one campaign.
pub const CAMPAIGN_FLOWS_MAX: usize = 1_000;
/// Bytes of one condition or expression.
pub const CONDITION_BYTES_MAX: usize = 2 * 1024;
/// Nodes of a parsed condition.
pub const CONDITION_NODES_MAX: usize = 200;
/// Nesting of a parsed condition.
pub const CONDITION_DEPTH_MAX: usize = 32;
/// Elements of a list or map written in a condition.
pub const CONDITION_LIST_MAX: usize = 64;
/// Elements that `all`, `exists`, `map` and `filter` go through in a condition.
pub const CONDITION_ITEMS_MAX: usize = 1_000;
/// Bytes of a text, and elements of a list, that `+` makes in a condition.
pub const CONDITION_VALUE_MAX: usize = 64 * 1024;
/// Bytes of variables that one evaluation of a condition may read; reading the same again counts.
pub const CONDITION_READS_MAX: u64 = 8 * 1024 * 1024;
/// The same for all conditions that one event asks, in flows, segments and entry keys.
pub const EVENT_READS_MAX: u64 = 64 * 1024 * 1024;
/// Bytes of a pattern as it is compiled for each use, with what the use counts as bytes read; one
/// that is larger than all of them counts as [`PATTERN_COST_MAX`].
pub const PATTERN_COSTS: [(usize, u64); 2] = [(64 * 1024, 64 * 1024), (1024 * 1024, 1024 * 1024)];
/// What one use of the largest pattern counts as bytes read.
pub const PATTERN_COST_MAX: u64 = CONDITION_READS_MAX / 2;
/// Bytes of memory, as reckoned, of the records of one event: flows for which there is no room
/// enrol nobody.
pub const GROUP_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of stack, untouched until needed, for parsing what operators write.
pub const PARSER_STACK_BYTES: usize = 256 * 1024 * 1024;
/// Stack of a thread that renders all the time: room for [`PARSER_STACK_BYTES`] below what calls
/// it, so that it need not be mapped for each message. Address space only, until it is used.
pub const WORKER_STACK_BYTES: usize = PARSER_STACK_BYTES + 1024 * 1024;
/// Bytes of address space without which the program does not begin: for the stacks of some such
/// threads, what allocators set aside for each thread, and the caches. Most is never touched.
pub const ADDRESS_SPACE_MIN: u64 = 4 * 1024 * 1024 * 1024;
/// Bytes of one template.
pub const TEMPLATE_BYTES_MAX: usize = 64 * 1024;
/// Instructions one rendering may take.
pub const TEMPLATE_FUEL: u64 = 50_000;
/// Bytes one template may render to.
pub const RENDERED_BYTES_MAX: usize = 1024 * 1024;
/// Calls, blocks and macros inside each other in a template.
pub const TEMPLATE_RECURSION_MAX: usize = 64;
/// Spaces that the filter `tojson` indents by.
pub const TEMPLATE_INDENT_MAX: usize = 16;
/// Expressions inside each other in a template. Each level may evaluate again what is constant below it.
pub const TEMPLATE_DEPTH_MAX: usize = 200;
/// Faults that are told of one template.
pub const TEMPLATE_FAULTS_MAX: usize = 8;
/// Cells, the pieces of the values in a template, that may be walked without being paid for, time and again in a loop.
pub const CELLS_UNPAID_MAX: u64 = TEMPLATE_FUEL;
/// Cells that may be built, and walked where the text that comes of it is paid for.
pub const CELLS_BUILT_MAX: u64 = 1 << 20;
/// Cells of a list that is multiplied before the template is rendered.
pub const CELLS_FOLDED_MAX: u64 = 128;
/// Products in one expression of a template that may turn out to be lists.
pub const PRODUCTS_MAX: u64 = 1_000;
/// What the fixed waits of a cycle of steps last together, at least.
pub const CYCLE_WAIT_MIN: Span = Span::minutes(1);
/// Findings that one validation reports; the rest are counted.
pub const FINDINGS_MAX: usize = 1_000;
/// Findings that are kept before they are sorted; the rest are counted.
pub const FINDINGS_KEPT: usize = 64 * FINDINGS_MAX;
/// Bytes of an entry key.
pub const ENTRY_KEY_BYTES_MAX: usize = 256;
/// How long an entry key is remembered after the enrollment began; the customer as key: for ever.
pub const KEY_MEMORY: Span = Span::days(400);
/// Entry keys remembered per customer; the oldest goes for a new one, but not while its enrollment
/// is active.
pub const ENTRY_KEYS_MAX: usize = 1_000;
/// Event names remembered per customer.
pub const ACTIVITY_NAMES_MAX: usize = 64;
/// Times remembered per customer and event name.
pub const ACTIVITY_TIMES_MAX: usize = 64;
/// Bytes of the trigger's values that an enrollment keeps.
pub const TRIGGER_BYTES_MAX: usize = 16 * 1024;
/// Bytes of the values that a step's messages are rendered from.
pub const VALUES_BYTES_MAX: usize = 32 * 1024;
/// Conditions without an answer that one event keeps the reason of.
pub const UNKNOWN_TEXTS_MAX: usize = 16;
/// Bytes of the error text kept of a failed attempt.
pub const ERROR_BYTES_MAX: usize = 512;

/// Attempts of one delivery before it goes to the dead-letter list.
pub const ATTEMPTS_MAX: u32 = 8;
/// The first back-off; each further one doubles it.
pub const BACKOFF_FIRST: Span = Span::seconds(30);
/// The longest back-off.
pub const BACKOFF_MAX: Span = Span::hours(6);
/// Steps one enrollment may take before it exits `step_budget`.
pub const STEP_BUDGET: u32 = 1_000;
/// Events older than this count as activity and enrol nobody.
pub const EVENT_AGE_MAX: Span = Span::hours(72);
/// How far ahead of the engine's clock an event may be.
pub const EVENT_AHEAD_MAX: Span = Span::hours(24);
/// How far after everything before it a line of events may lie, unless the run was told that time
/// reaches there: the lines are the clock, and one wrong year would fire every timer at once and make
/// all lines after it too old. Longer than nothing happens in any real file.
pub const LEAP_MAX: Span = Span::days(5 * 366);
/// How far the clock may leap ahead between two looks, the last look before a start included.
pub const CLOCK_AHEAD_MAX: Span = Span::hours(24);
/// How far behind the last record it may be when the engine starts, and before somebody is told.
pub const CLOCK_BEHIND_MAX: Span = Span::minutes(5);
/// How long an event id is remembered, in engine time.
pub const DEDUP_WINDOW: Span = Span::hours(72);

/// How long one attempt to send may take before it counts as deferred.
pub const SEND_TIMEOUT: Span = Span::seconds(60);
/// How long a worker pool that stops waits for the sends under way.
pub const STOP_TIMEOUT: Span = Span::seconds(10);
/// Deliveries waiting for a worker of one channel; one more is refused.
pub const CHANNEL_QUEUE: usize = 128;
/// Sends under way at once through each channel.
pub const WORKERS: usize = 64;
/// Files that one directory sync of the outbox makes durable, at most.
pub const OUTBOX_BATCH: usize = 64;
/// Bytes of a mailbox with its display name, so that no header line grows past the standard's 998.
pub const MAILBOX_BYTES_MAX: usize = 512;

/// Records of an enrollment that one question reads: reading keeps the engine from other work.
pub const HISTORY_RECORDS_MAX: usize = 10_000;
/// Enrollments of a customer that one question reads.
pub const ENROLLMENTS_SHOWN: usize = 1_000;
/// Rejected lines that a run tells of; the rest are counted.
pub const REJECTED_SHOWN: usize = 100;
/// Dead letters that one call shows, oldest first.
pub const DEAD_LETTERS_SHOWN: usize = 10_000;
/// Differences that are described; the rest are counted.
pub const DIFFERENCES_SHOWN: usize = 100;
/// More rounds of loading rows than any decision can need.
pub const FETCHES_MAX: usize = 100_000;

/// Partitions of one directory: more logs than any machine has threads for.
pub const PARTITIONS_MAX: u16 = 64;
/// Bytes of one record's body; longer documents travel in parts.
pub const RECORD_BYTES_MAX: usize = 64 * 1024;
/// Bytes of one part of a document.
pub const DOCUMENT_PART_BYTES: usize = 48 * 1024;
/// Bytes of one chunk: header and records.
pub const CHUNK_BYTES_MAX: usize = 96 * 1024;
/// Bytes of one stored value of any kind.
pub const VALUE_BYTES_MAX: usize = 96 * 1024;
/// Bytes at which a page splits, unless it holds one row only.
pub const PAGE_BYTES_MAX: usize = 2 * 1024;
/// Bytes of one row with its key.
pub const ROW_BYTES_MAX: usize = 72 * 1024;
/// Bytes of one part of the memory image that a checkpoint saves.
pub const MEMORY_PART_BYTES: usize = 64 * 1024;
/// Timers of one piece of a timer run.
pub const RUN_TIMERS_MAX: usize = 2_000;
/// Timers of a herd that are worked off together, at most.
pub const HERD_TIMERS_MAX: usize = 500_000;
/// sled's segment size, chosen so that no leaf of sixteen values ever leaves the segments.
pub const SEGMENT_BYTES: usize = 8 * 1024 * 1024;
/// Values in one leaf of sled's tree, at most.
pub const LEAF_VALUES_MAX: usize = 16;
/// Payload between two fdatasyncs, at most.
pub const SYNC_BYTES_MAX: usize = 1024 * 1024;
/// Keys that the commit thread removes between two syncs.
pub const REMOVALS_MAX: usize = 1_000;
/// How often the time of an ordinary operation sled's own opening may take: it is one call, which
/// reads a file that may be large and not cached.
pub const OPENING_PATIENCE: u32 = 20;
/// Bytes after which a backup begins another file of chunks.
pub const BACKUP_FILE_BYTES: u64 = 64 * 1024 * 1024;
/// Bytes of the manifest of a backup: enough for more than ten terabytes of log.
pub const MANIFEST_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Pages that a checkpoint writes between two commits, in bytes: about a millisecond of work.
pub const CHECKPOINT_SLICE_BYTES: usize = 64 * 1024;

// A leaf over a quarter of a segment would go to a file that sled never syncs.
const _: () = assert!(LEAF_VALUES_MAX * VALUE_BYTES_MAX < SEGMENT_BYTES / 4);
const _: () = assert!(CHUNK_BYTES_MAX <= VALUE_BYTES_MAX);
const _: () = assert!(RECORD_BYTES_MAX + 1024 <= CHUNK_BYTES_MAX);
const _: () = assert!(DOCUMENT_PART_BYTES + 1024 <= RECORD_BYTES_MAX);
const _: () = assert!(LINE_BYTES_MAX + 1024 <= RECORD_BYTES_MAX);
const _: () = assert!(ROW_BYTES_MAX + PAGE_BYTES_MAX <= VALUE_BYTES_MAX);
const _: () = assert!(
    ATTRIBUTES_BYTES_MAX + SUBSCRIPTIONS_MAX * SUBSCRIPTION_BYTES_MAX + 4096 <= ROW_BYTES_MAX
);
const _: () = assert!(
    TRIGGER_BYTES_MAX + VALUES_BYTES_MAX + SUBSCRIPTIONS_MAX * SUBSCRIPTION_BYTES_MAX + 4096
        <= ROW_BYTES_MAX
);
// An LSN takes nine bytes at most.
const _: () = assert!(ENTRY_KEYS_MAX * 9 + 1024 <= ROW_BYTES_MAX);
const _: () = assert!(MEMORY_PART_BYTES <= VALUE_BYTES_MAX);
const _: () = assert!(RUN_TIMERS_MAX * 40 + 1024 <= VALUE_BYTES_MAX);
const _: () = assert!(CHECKPOINT_SLICE_BYTES + 4 * CHUNK_BYTES_MAX <= SYNC_BYTES_MAX);

/// The bounds that may be set when a directory is opened. The defaults suit a machine with two
/// cores; tests force the rare paths by making them small.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Memory of cached pages, about: clean, dirty and being written together.
    pub cache_bytes: usize,
    /// Pages in the cache, at most; the tighter of the two bounds holds.
    pub cache_pages: usize,
    /// Records between two checkpoints, at most.
    pub checkpoint_records: u64,
    /// How long records are kept, in engine time, but never less than [`DEDUP_WINDOW`]; none: for
    /// ever. Older ones go some time after a checkpoint, at most half as much later again.
    pub keep_log: Option<Span>,
    /// Bytes of pages that a base copies; of more rows it keeps the digest only.
    pub base_copy_bytes: usize,
    /// Bytes at which a chunk is closed.
    pub chunk_bytes: usize,
    /// How far ahead of now timers are kept in memory.
    pub timer_span: Span,
    /// Inputs waiting in the inbox; one more is answered `Busy`.
    pub inbox_inputs: usize,
    /// Bytes of the inputs waiting in the inbox; one more is answered `Busy`.
    pub inbox_bytes: usize,
    /// Timers that fire one after the other in the order in which they are due; where more are, the
    /// others fire in the order of their customers.
    pub herd_timers: usize,
    /// Deliveries requested and not settled: at a sixteenth of them timers wait, so that a herd leaves
    /// room for events, and at so many an event is answered `Busy`.
    pub in_flight: usize,
    /// Deliveries handed to the workers and not yet reported.
    pub deliveries: usize,
    /// Bytes that must be free on the device; with less, nothing new is taken in.
    pub free_bytes_min: u64,
    /// How long one operation on the disk may take before it counts as hanging.
    pub stall: Span,
}

// Room for the batches under way and for the outcomes of what both channels have, each with a row of
// the greatest size after it, at the four bytes that the store writes for one.
const DELIVERIES: usize = 256;
const FREE_BYTES_MIN: usize = 256 * 1024 * 1024;
const _: () = assert!(4 * (2 * SYNC_BYTES_MAX + 2 * DELIVERIES * ROW_BYTES_MAX) <= FREE_BYTES_MIN);

impl Limits {
    /// What each of so many partitions gets: memory is shared among them.
    #[must_use]
    pub fn shared_by(&self, partitions: u16) -> Self {
        let count = usize::from(partitions.max(1));
        Self {
            cache_bytes: self.cache_bytes / count,
            inbox_bytes: self.inbox_bytes / count,
            ..self.clone()
        }
    }

    /// The same with every bound where it works at all.
    #[must_use]
    pub fn within_reason(mut self) -> Self {
        self.chunk_bytes = self.chunk_bytes.min(CHUNK_BYTES_MAX - 1024);
        self.keep_log = self.keep_log.map(|keep| keep.max(DEDUP_WINDOW));
        self.checkpoint_records = self.checkpoint_records.max(1);
        self.cache_pages = self.cache_pages.max(1);
        self.inbox_inputs = self.inbox_inputs.max(1);
        self.deliveries = self.deliveries.max(1);
        self.free_bytes_min = self.free_bytes_min.max(1);
        self.stall = self.stall.max(Span::millis(8));
        self.in_flight = self.in_flight.max(1);
        self
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            cache_bytes: 448 * 1024 * 1024,
            cache_pages: usize::MAX,
            checkpoint_records: 1_000_000,
            keep_log: None,
            base_copy_bytes: 8 * 1024 * 1024,
            chunk_bytes: 64 * 1024,
            timer_span: Span::hours(1),
            inbox_inputs: 8_192,
            inbox_bytes: 64 * 1024 * 1024,
            herd_timers: 4_096,
            in_flight: 1_000_000,
            deliveries: DELIVERIES,
            free_bytes_min: u64::try_from(FREE_BYTES_MIN).unwrap_or(u64::MAX),
            stall: Span::seconds(30),
        }
    }
}
