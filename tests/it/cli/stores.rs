//! Directories over either store: who chooses it, what is refused, and that all commands work.

use std::fs;

use super::{Desk, end, onward, simple};

fn run_over(desk: &Desk, store: &str) -> super::Ended {
    let mut command = desk.run_command("defs.json", "customers.ndjson", "events.ndjson");
    end(command.args(["--store", store]))
}

#[test]
fn a_store_is_chosen_once() {
    let desk = simple();
    run_over(&desk, "rocks").code(2).says(&["sled", "redb"]);
    assert!(!desk.data().exists());
    run_over(&desk, "sled").code(0);
    run_over(&desk, "redb").code(3).says(&["kept by sled, not redb", "leave the choice out"]);
    run_over(&desk, "sled").code(0);
}

#[cfg(not(feature = "store-redb"))]
#[test]
fn a_program_without_a_store_says_which_would_have_it() {
    let desk = simple();
    run_over(&desk, "redb").code(3).says(&["needs the store redb", "feature store-redb"]);
    assert!(!desk.data().exists(), "nothing is made");
    fs::create_dir(desk.data()).unwrap();
    fs::write(desk.data().join("db.redb"), "anything").unwrap();
    for command in [&["verify"][..], &["log"], &["compact"], &["trim", "--keep", "72h"]] {
        desk.on_data(command).code(3).says(&["needs the store redb"]);
    }
}

#[cfg(feature = "store-redb")]
mod over_redb {
    use super::*;
    use crate::cli::run_retail;

    fn names(dir: &std::path::Path) -> Vec<String> {
        let names = fs::read_dir(dir).unwrap().map(|it| it.unwrap().file_name());
        let mut names: Vec<_> = names.map(|it| it.into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn the_shop_leaves_the_same_log_over_both_and_every_command_works() {
        let [sled, redb] = [Desk::new(), Desk::new()];
        end(&mut run_retail(&sled)).code(0);
        end(run_retail(&redb).args(["--store", "redb"])).code(0);
        assert_eq!(names(&redb.data()), ["db.redb", "head", "lock"]);
        let log = redb.log();
        assert!(log == sled.log(), "the log is the same");

        redb.on_data(&["verify"]).code(0);
        redb.on_data(&["show", "flow", "welcome"]).code(0);
        redb.on_data(&["doctor"]).code(0);
        let [backup, copy, saved] = ["backup", "copy", "saved"].map(|name| redb.path(name));
        end(onward(&["backup", "--data"]).arg(redb.data()).arg("--to").arg(&backup)).code(0);
        redb.on_data(&["compact"]).code(0);
        assert_eq!(names(&redb.data()), ["db.redb", "head", "lock"]);
        assert!(redb.log() == log, "a compaction changes nothing");
        redb.on_data(&["trim", "--keep", "72h"]).code(0);
        redb.on_data(&["verify"]).code(0);
        // The same command again has nothing to do, and need not know the store.
        let again = end(&mut run_retail(&redb)).code(0);
        assert_eq!(again.object()["records_added"], 0);

        let repair = end(onward(&["repair", "--data"]).arg(redb.data()).arg("--to").arg(&saved));
        repair.code(3).says(&["kept by redb", "restore a backup"]);
        assert!(!saved.exists());
        // A backup is of no store.
        for (store, file) in [("sled", "db"), ("redb", "db.redb")] {
            let mut restore = onward(&["restore", "--store", store, "--from"]);
            end(restore.arg(&backup).arg("--data").arg(&copy)).code(0);
            assert!(copy.join(file).exists());
            let restored = end(onward(&["log", "--json", "--data"]).arg(&copy)).code(0).out;
            assert!(restored.starts_with(&log), "the copy has the records of the original");
            fs::remove_dir_all(&copy).unwrap();
        }
    }

    #[test]
    fn damage_is_told_with_what_helps_and_changes_nothing() {
        let desk = simple();
        run_over(&desk, "redb").code(0);
        let path = desk.data().join("db.redb");
        let mut bytes = fs::read(&path).unwrap();
        bytes.iter_mut().skip(4_096).for_each(|byte| *byte ^= 1);
        fs::write(&path, &bytes).unwrap();
        desk.on_data(&["verify"]).code(4).says(&["is damaged", "restore a backup"]);
        assert!(fs::read(&path).unwrap() == bytes, "nothing was changed");
        let told = desk.on_data(&["doctor"]).code(1).out;
        assert!(told.contains("db.redb"), "{told}");
        fs::remove_file(&path).unwrap();
        run_over(&desk, "redb").code(4).says(&["there is a head and no store"]);
    }

    #[test]
    fn a_bench_says_over_which_store_it_was() {
        let desk = Desk::new();
        let mut command = onward(&["bench", "throughput", "--enrollments", "20", "--json"]);
        let ended = end(command.args(["--store", "redb", "--dir"]).arg(desk.path("."))).code(0);
        assert_eq!(ended.object()["store"], "redb");
    }
}
