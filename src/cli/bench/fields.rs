//! What the fields of the JSON objects of `onward bench` mean, for its help.

macro_rules! fields {
    ($($own:literal)*) => {
        concat!("\
Fields of the JSON object, times in milliseconds; null where the system does not say:
  scenario                what was measured
  machine                 cpu, cores, filesystem
  durability, store       when a record counted as done, and where
  cache_bytes             memory for cached rows, about
  chunk_bytes             bytes at which a chunk is closed
  sync_bytes_max          bytes between two syncs, at most
  rss_mib                 the most memory that the process had
", $($own,)*)
    };
}

macro_rules! floors {
    () => {
        "\
  floor_records_per_s     the same records as bare chunks in the same kind of store, this run
  ratio_to_floor          records_per_s as a part of that
  raw_records_per_s       the same chunks in a plain file with fdatasync, this run
  ratio_to_raw            records_per_s as a part of that
  generator_cpu_s         processor seconds of the caller: making, reading, handing over events"
    };
}

pub(super) const THROUGHPUT: &str = concat!(
    fields!(
        "  enrollments, partitions how many went through, shared among how many partitions
  seconds                 from the first event in to the last exit durable, waits included
  step_transitions_per_s  steps that enrollments left, five each, per second
  enrollments_per_s       enrollments that ended, per second
  records_per_s, records  of the log
  bytes_per_record        in the log, chunk headers included
"
    ),
    floors!()
);

pub(super) const INGEST: &str = concat!(
    fields!(
        "  events, partitions      how many of each kind, shared among how many partitions
  payload_bytes           bytes of the properties that are stored
  idle_events_per_s       that enrol nobody, ten of each customer
  stored_events_per_s     the same with the payload
  enrolling_events_per_s  that each enrol a customer of their own into a wait
  records_per_s           of the last kind: event, enrollment, wait
"
    ),
    floors!()
);

pub(super) const LATENCY: &str = fields!(
    "  rate, events            events per second, as asked for, and in all
  checkpoint_records      records between two checkpoints
  latency                 p50_ms, p99_ms, p999_ms, max_ms from when an event was to be sent in to
                          when its message was handed to its channel
  longest_gap_ms          the longest time between two messages while events came
  checkpoints             written meanwhile
  longest_checkpoint_stall_ms
                          the longest time between two messages that is within one of them, wholly
                          or in part
  append                  the same spread of appending one chunk of 200 bytes, synced, this run
  ratio_p50, ratio_p99    latency as a multiple of append"
);

pub(super) const TIMERS: &str = fields!(
    "  waiting                 enrollments that wait, due over a year
  registered_per_s        of them per second: customer, event, enrollment, timer
  waiting_rss_mib         what the process has in memory once all of them wait
  herd                    enrollments due at one instant
  herd_drained_per_s      of them per second: due, durably requested, rendered, handed over
  event                   p50_ms, p99_ms, p999_ms, max_ms of events meanwhile, from when each was to
                          come to its answer
  rate                    timers per second of the steady stream, as asked for
  lateness                how much later than due a steady timer fired
  handed                  how much later than due its message was handed to its channel
  early                   timers that fired before they were due
  disk_bytes              bytes of the data directory at the end
  written_bytes           bytes that the process had written to the file system for all this"
);

pub(super) const RECOVERY: &str = fields!(
    "  waiting                 enrollments that wait
  disk_bytes              bytes of the directory when its process was killed, all of them written
                          since it was opened
  open_ms                 until the store is open: looked at, and opened by it; what the kernel has of
                          its file is dropped first, so this is always from a cold cache
  ready_ms                until the engine is open as well and an event is answered
  replayed_records        records after the checkpoint in force
  replay_records_per_s    of them per second, over all that ready_ms has besides open_ms"
);

pub(super) const GROWTH: &str = fields!(
    "  enrollments             through the welcome series at each size
  waiting                 by how many wait, while the series itself hardly waits: step_transitions_per_s, step_us, step_cpu_us of the
                          whole process, rss_mib and disk_bytes after it
  growth                  the most that a step takes as a multiple of the least"
);

pub(super) const SCALE: &str = fields!(
    "  flows                   each with a segment and an event of its own
  flows_published         document_bytes, seconds until it was in force, rss_mib by which the
                          process grew
  flow_events_per_s       events that each start one of them, for a customer of their own
  members                 of one segment
  members_published       the same as flows_published for that segment
  member_events_per_s     events of members, who are enrolled, and of others, in turns
  ready_ms                from when the closed directory is opened until an event is answered
  ids                     event ids that are remembered, ten of each customer
  row_mib_per_million_ids bytes of rows that they take, in the store and in the cache
  disk_mib_per_million_ids
                          by how much the directory is larger for them, its full history included"
);

pub(super) const MIXED: &str = fields!(
    "  seconds, rate, calls    how long, calls per second, calls in all
  ended                   enrollments through the welcome series, all that began
  early, late             the first and the last quarter: answered (p50_ms, p99_ms, p999_ms, max_ms
                          from when a call was to be made to its answer), rss_mib and disk_bytes
  rss_growth, p50_growth, p99_growth
                          the last quarter as a multiple of the first
  grown_bytes             by how much the directory grew, with its full history
  log_bytes               of that, chunks of the log as encoded
  grown_ratio             grown_bytes as a multiple of log_bytes"
);

pub(super) const DISK: &str = fields!(
    "  enrollments, records    through the welcome series, and in the log for it, customers included
  plain_bytes_per_record  of the log before compression, chunk headers included
  log_bytes_per_record    the same as stored
  bare_log_bytes_per_record
                          of events without a payload that each enrol into a wait
  log_bytes_per_transition, row_bytes_per_transition, timer_bytes_per_transition
                          encoded, per step that an enrollment left; of timers while they wait
  given_log_bytes_per_transition, given_row_bytes_per_transition, given_timer_bytes_per_transition
                          keys and values given to the store, each time they were
  given_ratio             bytes given to the store in all, as a multiple of log, rows and timers
  written_ratio           bytes written to the file system, as a multiple of log, rows and timers
  kept_ratio, kept_bytes  of the directory with its full history
  trimmed_bytes           of the directory after all records were trimmed
  compacted_bytes         after that was compacted
  compacted_ratio         that as a multiple of the rows"
);
