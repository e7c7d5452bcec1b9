//! The rules of this tree that no compiler checks.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Who may import whom.
const LAYERS: [(&str, &[&str]); 10] = [
    ("base", &[]),
    ("model", &["base"]),
    ("machine", &["base", "model"]),
    ("store", &["base"]),
    ("delivery", &["base", "model", "machine"]),
    ("engine", &["base", "model", "machine", "store"]),
    ("app", &["base", "model", "machine", "store", "delivery", "engine"]),
    ("bench", &["base", "model", "machine", "store", "delivery", "engine", "app"]),
    ("cli", &["base", "model", "machine", "store", "delivery", "engine", "app", "bench"]),
    // What the fuzz targets call.
    ("check", &["base", "model", "machine", "store", "delivery", "engine"]),
];
/// What has a place, a clock, or an order of its own.
const IMPURE: [&str; 12] = [
    "std::fs",
    "std::io",
    "std::net",
    "std::thread",
    "std::env",
    "std::process",
    "std::os",
    "SystemTime",
    "Instant",
    "HashMap",
    "HashSet",
    "RandomState",
];
/// Where one of them is no impurity, and why.
const PURE_ALL_THE_SAME: [(&str, &str); 3] = [
    // Only in a build that has bugs on purpose.
    ("src/base/planted.rs", "std::env"),
    // A variant of an error; clippy knows who asks the clock.
    ("src/base/time.rs", "Instant"),
    // The maps of the condition language are made of nothing else; it goes through them in order.
    ("src/model/condition/evaluate.rs", "HashMap"),
];
const LINES_MAX: usize = 450;

struct Source {
    /// From the root of the crate.
    path: String,
    text: String,
}

impl Source {
    /// The module of the crate that it belongs to.
    fn module(&self) -> &str {
        let rest = self.path.strip_prefix("src/").unwrap_or_default();
        rest.split(['/', '.']).next().unwrap()
    }

    /// The lines that are code, numbered, comments and strings left out.
    fn code(&self) -> impl Iterator<Item = (usize, String)> {
        let is_code = |line: &&str| !line.trim_start().starts_with("//");
        (1..).zip(self.text.lines()).filter(move |(_, line)| is_code(line)).map(|(number, line)| {
            let line = line.split(" // ").next().unwrap();
            // Every other part between quotes is a string.
            let outside: Vec<&str> = line.split('"').step_by(2).collect();
            (number, outside.join("\"\""))
        })
    }

    /// The text before the unit tests.
    fn is_test(&self) -> bool {
        let name = Path::new(&self.path).file_name().unwrap();
        ["tests.rs", "conformance.rs", "golden.rs"].iter().any(|it| name == *it)
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn collect(dir: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            collect(&path, found);
        } else if path.extension().is_some_and(|it| it == "rs") {
            found.push(path);
        }
    }
}

/// Every Rust file under these folders.
fn sources(dirs: &[&str]) -> Vec<Source> {
    let mut paths = Vec::new();
    dirs.iter().for_each(|dir| collect(&root().join(dir), &mut paths));
    paths.sort();
    let read = |path: PathBuf| Source {
        text: fs::read_to_string(&path).unwrap(),
        path: path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned(),
    };
    paths.into_iter().map(read).collect()
}

fn assert_none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}

/// The modules that code names behind `crate::`, in use lists too.
fn imports(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = code;
    while let Some((_, after)) = rest.split_once("crate::") {
        rest = after;
        let list = after.strip_prefix('{').map_or_else(|| first_name(after), names_of_list);
        found.extend(list);
    }
    found
}

/// Whether the code names exactly this, and not something whose name begins or ends like it.
fn names(code: &str, name: &str) -> bool {
    let is_part = |it: Option<char>| it.is_some_and(|it| it.is_alphanumeric() || it == '_');
    code.match_indices(name).any(|(at, _)| {
        let (before, rest) = code.split_at(at);
        let after = rest.split_at(name.len()).1;
        !is_part(before.chars().next_back()) && !is_part(after.chars().next())
    })
}

fn first_name(text: &str) -> Vec<String> {
    let end = text.find(|it: char| !it.is_alphanumeric() && it != '_').unwrap_or(text.len());
    vec![text.split_at(end).0.to_owned()]
}

/// The first names of the parts of a use list, whose opening brace is gone already.
fn names_of_list(text: &str) -> Vec<String> {
    let mut depth = 0;
    let mut names = vec![String::new()];
    let mut in_name = true;
    for it in text.chars() {
        match it {
            '}' if depth == 0 => break,
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                names.push(String::new());
                in_name = true;
                continue;
            }
            _ => {}
        }
        if it.is_alphanumeric() || it == '_' {
            if in_name {
                names.last_mut().unwrap().push(it);
            }
        } else if !it.is_whitespace() {
            in_name = false;
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

#[test]
fn imports_are_found_in_every_form() {
    let code = "use crate::base; x(crate::model::Event); pub(crate) fn f() {}
        use crate::{engine::{self, job::{Files}}, store, delivery::Log, app::{A, B}};";
    assert_eq!(imports(code), ["base", "model", "engine", "store", "delivery", "app"]);
}

#[test]
fn modules_import_only_what_is_below_them() {
    let mut found = Vec::new();
    let mut checked = 0;
    for source in sources(&["src"]) {
        let Some((module, allowed)) = LAYERS.iter().find(|(it, _)| *it == source.module()) else {
            assert!(["lib", "main"].contains(&source.module()), "{} has no layer", source.path);
            continue;
        };
        let code: String = source.code().map(|(_, line)| line + "\n").collect();
        for name in imports(&code) {
            checked += 1;
            let is_module = LAYERS.iter().any(|(it, _)| *it == name);
            // What is no module is a name that the root exports from `app` and below.
            let layer = if is_module { name.as_str() } else { "app" };
            // A test may give its bytes to what fuzzing gives bytes to.
            let is_check = source.is_test() && layer == "check";
            if layer != *module && !allowed.contains(&layer) && !is_check {
                found.push(format!("{}: crate::{name}", source.path));
            }
        }
    }
    assert!(checked > 100, "only {checked} imports were found");
    assert_none("imports against the layers", &found);
}

#[test]
fn the_pure_layers_know_no_world() {
    let mut found = Vec::new();
    for source in sources(&["src/base", "src/model", "src/machine"]) {
        let (path, is_test) = (source.path.clone(), source.is_test());
        for (number, line) in source.code().filter(|_| !is_test) {
            // A use list names the parts of std one by one.
            let flat = line.replace("std::{", "std::").replace(' ', "");
            let named = IMPURE.iter().filter(|it| names(&flat, it));
            let impure = named.filter(|it| !PURE_ALL_THE_SAME.contains(&(path.as_str(), it)));
            found.extend(impure.map(|it| format!("{path}:{number}: {it}")));
        }
    }
    assert_none("not pure", &found);
}

#[test]
fn one_module_knows_each_of_bincode_sled_and_redb() {
    let mut found = Vec::new();
    let homes = [
        ("bincode", "src/base/codec.rs"),
        ("sled", "src/store/sled.rs"),
        ("redb", "src/store/redb"),
    ];
    for (name, home) in homes {
        let mut is_home_right = false;
        for source in sources(&["src", "tests", "benches", "examples"]) {
            let named = source.code().filter(|(_, line)| {
                // The back end in our own module of that name is no secret.
                line.replace("sled::SledStore", "")
                    .replace("redb::RedbStore", "")
                    .contains(&format!("{name}::"))
            });
            let named = named.map(|(number, line)| format!("{}:{number}: {line}", source.path));
            if source.path.starts_with(home) {
                is_home_right |= named.count() > 0;
            } else {
                found.extend(named);
            }
        }
        assert!(is_home_right, "{home} is where {name} is named");
    }
    assert_none("a second place", &found);
}

#[test]
fn files_are_short_and_begin_with_what_they_are_for() {
    let mut found = Vec::new();
    let all = sources(&["src", "tests", "benches", "fuzz", "examples"]);
    assert!(all.len() > 80, "only {} files were found", all.len());
    for Source { path, text } in all {
        let lines = text.lines().count();
        if lines > LINES_MAX {
            found.push(format!("{path}: {lines} lines"));
        }
        if !text.starts_with("//! ") && !text.starts_with("#![no_main]\n//! ") {
            found.push(format!("{path}: the first line does not say what the file is for"));
        }
    }
    assert_none("files", &found);
}

#[test]
fn nothing_is_left_to_do() {
    // Put together here, or this file would name them.
    let marks = ["TO", "FIX", "to", "db"].iter().zip(["DO", "ME", "do!(", "g!("]);
    let marks: Vec<String> = marks.map(|(start, end)| format!("{start}{end}")).collect();
    let mut found = Vec::new();
    for Source { path, text } in sources(&["src", "tests", "benches", "fuzz", "examples"]) {
        for (number, line) in (1..).zip(text.lines()) {
            let named = marks.iter().find(|it| line.contains(it.as_str()));
            found.extend(named.map(|it| format!("{path}:{number}: {it}")));
        }
    }
    assert_none("left to do", &found);
}

/// The names between backquotes in the last column of every table under one of `headings`.
fn tests_named_under(page: &str, headings: &[&str]) -> Vec<String> {
    let text = fs::read_to_string(root().join(page)).unwrap();
    let mut is_under = false;
    let mut names = Vec::new();
    for line in text.lines() {
        if line.starts_with("## ") {
            is_under = headings.contains(&line);
        }
        let column = line.trim_end_matches([' ', '|']).rsplit(" | ").next().unwrap();
        if is_under && line.starts_with('|') {
            names.extend(column.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    names
}

#[test]
fn every_promise_names_a_test_that_there_is() {
    let mut names = tests_named_under("README.md", &["## Guarantees"]);
    names.extend(tests_named_under("ARCHITECTURE.md", &["## Losses and hazards"]));
    assert!(names.len() > 50, "only {} names were found", names.len());
    let all = sources(&["src", "tests"]);
    names.retain(|name| {
        let function = format!("fn {name}(");
        !all.iter().any(|source| source.text.contains(&function))
    });
    assert!(names.is_empty(), "no tests of these names: {names:?}");
}
