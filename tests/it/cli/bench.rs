//! `onward bench`: every scenario gives its table and its object, and refuses what makes no sense.

use super::{Desk, end, onward};

/// Each scenario in small, and figures that it must have.
const SCENARIOS: [(&[&str], &[&str]); 9] = [
    (&["throughput", "--enrollments", "20"], &["step_transitions_per_s", "ratio_to_floor"]),
    (
        &["ingest", "--events", "30", "--partitions", "2"],
        &["enrolling_events_per_s", "ratio_to_raw"],
    ),
    (&["latency", "--rate", "40", "--seconds", "1"], &["latency", "append", "ratio_p99"]),
    (
        &["timers", "--waiting", "30", "--herd", "20", "--rate", "20", "--seconds", "1"],
        &["herd_drained_per_s", "lateness", "registered_per_s"],
    ),
    (&["recovery", "--waiting", "40"], &["ready_ms", "replayed_records"]),
    (&["growth", "--waiting", "20,40", "--enrollments", "20"], &["waiting", "growth"]),
    (
        &["scale", "--flows", "5", "--members", "20", "--ids", "40"],
        &["flows_published", "member_events_per_s", "row_mib_per_million_ids"],
    ),
    (&["mixed", "--seconds", "1", "--rate", "60"], &["early", "late", "p99_growth", "grown_ratio"]),
    (&["disk", "--enrollments", "20"], &["log_bytes_per_transition", "compacted_bytes"]),
];

#[test]
fn every_scenario_has_its_figures_and_cleans_up() {
    for (args, names) in SCENARIOS {
        let desk = Desk::new();
        let mut command = onward(&["bench"]);
        command.args(args).arg("--json").arg("--dir").arg(desk.path("."));
        let ended = end(&mut command).code(0);
        let object = ended.object();
        assert_eq!(object["scenario"], args[0], "{ended:?}");
        for name in [
            "machine",
            "durability",
            "store",
            "cache_bytes",
            "chunk_bytes",
            "sync_bytes_max",
            "rss_mib",
        ] {
            assert!(!object[name].is_null(), "{name} is not in {object}");
        }
        for name in names {
            assert!(object[*name].is_number() || object[*name].is_object(), "{name} in {object}");
            assert!(ended.out.contains(name), "{name} is not in the table");
        }
        let left = std::fs::read_dir(desk.path(".")).unwrap().count();
        assert_eq!(left, 0, "{args:?} left something behind");
    }
}

#[test]
fn what_is_out_of_range_is_refused() {
    for (args, told) in [
        (["throughput", "--enrollments", "0"], "1..=10000000"),
        (["ingest", "--payload", "7"], "25..=10000"),
        (["latency", "--rate", "x"], "invalid digit"),
        (["timers", "--waiting", "90000000"], "1..=20000000"),
        (["recovery", "--waiting", "0"], "1..=20000000"),
        (["throughput", "--partitions", "65"], "1..=64"),
        (["growth", "--waiting", "20,10"], "ascend"),
        (["scale", "--flows", "10000"], "1..=9999"),
        (["mixed", "--rate", "0"], "1..=1000000"),
        (["timers", "--cache-mib", "0"], "1..=65535"),
    ] {
        end(onward(&["bench"]).args(args)).code(2).says(&[told]);
    }
    for (args, told) in [
        (
            ["latency", "--rate", "1000000", "--seconds", "21"],
            "at most 20000000, and this is 21000000",
        ),
        (["timers", "--rate", "1000000", "--seconds", "70"], "at most 67108864"),
        (["mixed", "--rate", "1000000", "--seconds", "400"], "at most 335544320"),
    ] {
        end(onward(&["bench"]).args(args)).code(2).says(&[told]);
    }
    let desk = Desk::new();
    let mut nowhere = onward(&["bench", "disk", "--dir"]);
    end(nowhere.arg(desk.path("nowhere"))).code(3).says(&["nowhere", "--dir"]);
}
