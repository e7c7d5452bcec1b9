//! `onward run` over good inputs.

use std::fs;

use serde_json::json;

use super::{Desk, email, end, onward, run_retail, run_simple, signup, simple, wait, welcome};

#[test]
fn the_example_shop_gives_what_its_readme_counts() {
    let desk = Desk::new();
    let summary = end(&mut run_retail(&desk)).code(0).object();
    assert_eq!((desk.messages(".eml"), desk.messages(".push.json")), (163, 11));
    assert_eq!(desk.messages(""), 163 + 11, "nothing else is in the outbox");
    let sent = json!({
        "welcome/hello": 30, "welcome/tip": 2, "welcome/guide": 30, "win-back/sorry": 38,
        "big-order/thanks": 65, "third-order/club": 3, "third-order/reminder": 3,
    });
    assert_eq!(summary["sent"], sent);
    for (field, count) in [
        ("lines_read", 397),
        ("events_read", 337),
        ("customers", 60),
        ("enrolled", 170),
        ("waiting", 0),
        ("active", 0),
        ("duplicates", 0),
        ("rejected_lines", 0),
        ("dead_letters", 0),
    ] {
        assert_eq!(summary[field], count, "{field}");
    }
    let fields = summary.as_object().unwrap();
    for field in [
        "refused",
        "skipped",
        "exited",
        "campaigns",
        "records",
        "records_added",
        "record_bytes_added",
        "disk_bytes",
        "now",
        "inputs",
        "seconds",
        "records_per_second",
    ] {
        assert!(fields.contains_key(field), "{field}");
    }
    assert_eq!(desk.on_data(&["verify"]).code(0).err, "");
}

#[test]
fn the_same_command_again_adds_nothing_and_says_so() {
    let desk = Desk::new();
    end(&mut run_retail(&desk)).code(0);
    let log = desk.log();
    let again = end(&mut run_retail(&desk)).code(0).object();
    assert_eq!(again["records_added"], 0);
    let mut without_json = run_retail(&desk);
    let args: Vec<_> =
        without_json.get_args().filter(|it| *it != "--json").map(ToOwned::to_owned).collect();
    without_json = onward(&[]);
    let text = end(without_json.args(args)).code(0).out;
    assert!(text.starts_with("nothing new: "), "{text}");
    assert_eq!(desk.log(), log);
}

#[test]
fn a_new_events_file_continues_and_changed_definitions_are_a_new_version() {
    let desk = simple();
    run_simple(&desk).code(0);
    desk.file("changed.json", welcome(&[email(1, "Hi again {{ customer.id }}")]).to_string());
    desk.file("next.ndjson", signup("e2", "c2", "2026-02-01T00:00:00Z"));
    let summary = desk.run("changed.json", "customers.ndjson", "next.ndjson").code(0).object();
    assert_eq!((&summary["events_read"], &summary["enrolled"]), (&2.into(), &2.into()));
    let flow = desk.on_data(&["show", "flow", "welcome", "--json"]).code(0).object();
    assert_eq!(flow["versions"], 2);
    let versions: Vec<_> =
        desk.records("Enrolled").iter().map(|it| it["version"].clone()).collect();
    assert_eq!(versions, [1, 2]);
    let times: Vec<_> = desk.records("Enrolled").iter().map(|it| it["time"].clone()).collect();
    assert_eq!(times, ["2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"]);
    let log = desk.log();
    let again = desk.run("changed.json", "customers.ndjson", "next.ndjson").code(0).object();
    assert_eq!((&again["records_added"], desk.log()), (&0.into(), log));
}

#[test]
fn a_flow_of_a_thousand_steps_is_walked_to_its_end() {
    let desk = simple();
    let mut steps: Vec<_> = (1..1_000).map(|order| wait(order, "1m")).collect();
    steps.push(email(1_000, "Here at last"));
    desk.file("defs.json", welcome(&steps).to_string());
    let mut command = desk.run_command("defs.json", "customers.ndjson", "events.ndjson");
    let summary = end(command.args(["--until", "2026-01-02T00:00:00Z"])).code(0).object();
    assert_eq!(summary["sent"], json!({ "welcome/mail-1000": 1 }));
    assert_eq!(summary["exited"], json!({ "completed": 1 }));
    assert_eq!(desk.records("WaitEnded").len(), 999);
    desk.on_data(&["verify"]).code(0);
}

#[test]
fn an_event_enters_three_hundred_flows() {
    let desk = simple();
    let ids = 0..300;
    let segments =
        ids.clone().map(|id| json!({ "id": format!("s{id}"), "name": "S", "rule": "true" }));
    let flows = ids.map(|id| {
        json!({ "id": format!("f{id}"), "name": "F", "segment": format!("s{id}"),
                "trigger": { "event": "signup" }, "steps": [email(1, "One of many")] })
    });
    let document =
        json!({ "segments": segments.collect::<Vec<_>>(), "flows": flows.collect::<Vec<_>>() });
    desk.file("defs.json", document.to_string());
    let summary = run_simple(&desk).code(0).object();
    assert_eq!(summary["enrolled"], 300);
    assert_eq!(desk.messages(".eml"), 300);
    desk.on_data(&["verify"]).code(0);
}

#[test]
fn without_an_outbox_messages_are_logged_and_the_records_are_the_same() {
    let (desk, other) = (simple(), simple());
    run_simple(&desk).code(0);
    let mut command = other.run_command("defs.json", "customers.ndjson", "events.ndjson");
    let args: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
    let at = args.iter().position(|it| it == "--outbox").unwrap();
    command = onward(&[]);
    command.args(args.iter().take(at)).args(args.iter().skip(at + 2)).env("ONWARD_LOG", "info");
    end(&mut command).code(0).says(&["message", "Hello c1"]);
    let kinds = |desk: &Desk| desk.records("DeliverySent").len();
    assert_eq!((kinds(&desk), kinds(&other)), (1, 1));
    assert!(!other.path("outbox").exists());
}

#[test]
fn on_the_real_clock_the_same_happens() {
    let messages = ["virtual", "real"].map(|clock| {
        let desk = simple();
        let more = signup("e2", "c2", "2026-01-01T00:00:00.050Z");
        let events =
            fs::read_to_string(desk.path("events.ndjson")).unwrap() + &customer_events() + &more;
        desk.file("events.ndjson", events);
        let mut command = desk.run_command("defs.json", "customers.ndjson", "events.ndjson");
        let summary = end(command.args(["--clock", clock])).code(0).object();
        (summary["sent"].clone(), summary["exited"].clone(), summary["skipped"].clone())
    });
    let [on_virtual, on_real] = messages;
    assert_eq!(on_virtual, on_real);
    assert_eq!(on_virtual.0, json!({ "welcome/mail-1": 1 }));
}

/// Events at one instant, some of them of nobody's interest.
fn customer_events() -> String {
    let event = |number| json!({ "id": format!("x{number}"), "name": "visit", "customer": "c1", "time": "2026-01-01T00:00:00Z" });
    (0..5).map(|number| format!("{}\n", event(number))).collect()
}

#[test]
fn a_directory_may_be_named_from_where_one_is() {
    let desk = simple();
    for data in ["data", "deep/er", "./dotted"] {
        let mut command = onward(&["run", "--data", data, "--outbox", "out"]);
        command.current_dir(desk.path("")).arg("--definitions").arg("defs.json");
        end(command.args(["--customers", "customers.ndjson"])).code(0);
        end(onward(&["verify", "--data", data]).current_dir(desk.path(""))).code(0);
    }
}

#[test]
fn what_to_tell_of_is_checked_and_a_slip_silences_no_warning() {
    let desk = simple();
    desk.file("events.ndjson", "no event\n");
    let run = || desk.run_command("defs.json", "customers.ndjson", "events.ndjson");
    end(run().env("ONWARD_LOG", "wran")).code(1).says(&["events.ndjson:1:"]);
    end(run().env("ONWARD_LOG", "a=b=c")).code(2).says(&["ONWARD_LOG", "write a level"]);
}
