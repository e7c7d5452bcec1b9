//! A shop with a few months of events, made from a seed: every kind of line and step, so that a kill
//! can land in any of them.

use std::{fs, hash::BuildHasher, path::Path};

use serde_json::{Value, json};

/// The seed that `SEED` gives, or any.
pub(crate) fn seed() -> u64 {
    let given = std::env::var("SEED").ok().map(|text| text.parse().expect("SEED is a number"));
    given.unwrap_or_else(|| std::hash::RandomState::new().hash_one("seed") % 1_000_000)
}

/// SplitMix64: the same numbers for the same seed, everywhere.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not zero.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Whether something of this chance happens.
    pub(crate) fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    /// A place in a list of this length, which is not zero.
    pub(crate) fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(u64::try_from(length).unwrap())).unwrap()
    }

    fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.index(list.len())]
    }
}

/// How much there is of everything.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    pub(crate) customers: u64,
    /// Events of each of the two commands.
    pub(crate) events: [u64; 2],
    /// How long the timers of the second one run after its last event.
    pub(crate) days: u64,
}

const COUNTRIES: [&str; 5] = ["United Kingdom", "United Kingdom", "France", "日本", "Unspecified"];
/// 2024-01-01T00:00:00Z in seconds.
const START: u64 = 1_704_067_200;
const HOUR: u64 = 3_600;
const DAY: u64 = 24 * HOUR;

/// Writes what the first command takes and what the second one takes after it, and says until when
/// the timers of each run: the first stops with many waits open.
pub(crate) fn write(dir: &Path, seed: u64, scale: Scale) -> [String; 2] {
    let mut random = Random(seed);
    let Scale { customers: count, events: [first_events, second_events], days } = scale;
    let mut shop = Shop { customers: count, now: START, orders: 0, recent: Vec::new() };
    put(dir, "customers.ndjson", &customers(&mut random, count));
    put(dir, "events-1.ndjson", &shop.events(&mut random, first_events));
    let first = time(shop.now + 3 * DAY);
    shop.now += 4 * DAY;
    put(dir, "events-2.ndjson", &shop.events(&mut random, second_events));
    put(dir, "definitions-1.json", &definitions("Welcome").to_string());
    let mut changed = definitions("A warm welcome");
    changed["segments"][0]["rule"] = json!("customer.attributes.country != 'France'");
    changed["segments"].as_array_mut().unwrap().push(json!(
        { "id": "late", "name": "Late", "rule": "count('order') >= 2" }
    ));
    changed["flows"].as_array_mut().unwrap().push(json!(
        { "id": "late", "name": "Late", "segment": "late", "trigger": { "event": "order" },
          "steps": [email(1, "late", "Late {{ customer.id }}"), wait(2, "pause", "36h"), push(3, "ping")] }
    ));
    put(dir, "definitions-2.json", &changed.to_string());
    [first, time(shop.now + days * DAY)]
}

fn time(seconds: u64) -> String {
    let time = chrono::DateTime::from_timestamp(i64::try_from(seconds).unwrap(), 0).unwrap();
    time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

fn put(dir: &Path, name: &str, text: &str) {
    fs::write(dir.join(name), text).unwrap();
}

fn customer_id(number: u64) -> String {
    match number % 40 {
        7 => format!("zoë {number}"),
        9 => format!("客\u{1F600}{number}"),
        _ => format!("c{number}"),
    }
}

fn customers(random: &mut Random, count: u64) -> String {
    let mut text = String::new();
    for number in 0..count {
        let subscription = |which: u64| {
            json!({ "endpoint": format!("https://push.example.net/{number}/{which}"),
                    "keys": { "p256dh": "BEUmFeC1fCXlpKxcyHdl5LeYtaY3WwwhUxukZwsGB1YoD3OXdzMBU5J8zp8QvfyCraX6yKavv9c7MEa_9Uqy0a4",
                              "auth": "qh_TPgMOVBai_USJN2BSMQ" } })
        };
        let subscriptions = [0, 1].into_iter().filter(|which| number % (4 + 7 * which) == 0);
        let push: Vec<Value> = subscriptions.map(subscription).collect();
        let mut line = json!({ "id": customer_id(number), "timezone": "Europe/London",
            "attributes": { "country": random.pick(&COUNTRIES), "n": number }, "push": push });
        if !random.percent(8) {
            line["email"] = json!(format!("c{number}@example.com"));
        }
        text += &format!("{line}\n");
        if number % 97 == 50 {
            text += "{\"id\":\"\"}\n\n";
        }
    }
    text
}

struct Shop {
    customers: u64,
    now: u64,
    orders: u64,
    recent: Vec<String>,
}

impl Shop {
    fn events(&mut self, random: &mut Random, count: u64) -> String {
        let mut text = String::new();
        for _ in 0..count {
            let line = match random.below(100) {
                0 => "{\"name\":\"order\",\"customer\":".to_owned(),
                1 => json!({ "name": "order", "customer": "c1", "tiem": 1 }).to_string(),
                2 => String::new(),
                3..7 if !self.recent.is_empty() => random.pick(&self.recent).clone(),
                _ => self.event(random).to_string(),
            };
            text += &line;
            text.push('\n');
        }
        // However few there are, one is malformed.
        text + "{\"name\":\"order\"}\n"
    }

    fn event(&mut self, random: &mut Random) -> Value {
        if !random.percent(30) {
            self.now += random.below(2 * HOUR);
        }
        let late = if random.percent(4) { random.below(5 * DAY) } else { 0 };
        let customer = customer_id(random.below(self.customers));
        self.orders += 1;
        let number = self.orders;
        let name = *random.pick(&["signup", "order", "order", "cart", "cart", "cancel", "visit"]);
        let event = json!({ "id": format!("ev-{number}"), "name": name, "customer": customer,
            "time": time(self.now - late),
            "properties": { "order": format!("o{number}"), "total": random.below(1_000),
                            "cart": format!("cart-{}", random.below(3)) } });
        self.recent.push(event.to_string());
        if self.recent.len() > 50 {
            self.recent.remove(0);
        }
        event
    }
}

fn email(order: u32, id: &str, subject: &str) -> Value {
    json!({ "id": id, "step_order": order, "step_type": "SEND_EMAIL", "config": {
        "subject": subject, "text": "{{ trigger.name }} at {{ trigger.time }}\n",
        "html": "<p>{{ customer.attributes.country }}</p>\n" } })
}

fn push(order: u32, id: &str) -> Value {
    json!({ "id": id, "step_order": order, "step_type": "SEND_PUSH",
            "config": { "title": "Hello", "body": "{{ customer.id }}" } })
}

fn wait(order: u32, id: &str, duration: &str) -> Value {
    json!({ "id": id, "step_order": order, "step_type": "WAIT", "config": { "duration": duration } })
}

fn definitions(welcome: &str) -> Value {
    let segment = |id: &str, rule: &str| json!({ "id": id, "name": id, "rule": rule });
    let mut ask = email(2, "ask", "Why, {{ customer.id }}?");
    ask["next_step_id"] = json!("asked");
    let mut pulse = wait(1, "pulse", "5h");
    pulse["next_step_id"] = json!("pulse");
    json!({
        "segments": [
            segment("uk", "customer.attributes.country == 'United Kingdom'"),
            segment("all", "true"),
            segment("known", "customer.attributes.country != 'Unspecified'"),
            segment("buyers", "count('order') >= 1"),
            segment("regulars", "count('order') >= 3"),
            { "id": "few", "name": "few", "members": ["c0", "c1", "zoë 7"] },
        ],
        "flows": [
            { "id": "welcome", "name": "Welcome", "segment": "uk", "trigger": { "event": "signup" },
              "steps": [email(1, "hello", &format!("{welcome}, {{{{ customer.id }}}}")),
                        wait(2, "soon", "10m"), push(3, "tip"), wait(4, "later", "2d"),
                        email(5, "guide", "How it works")] },
            { "id": "cart", "name": "Cart", "segment": "all", "trigger": { "event": "cart" },
              "entry": "every_time", "entry_key": "event.properties.cart",
              "steps": [wait(1, "wait", "45m"), email(2, "left", "Your cart {{ event.properties.cart }}")] },
            { "id": "big", "name": "Big", "segment": "known", "entry": "every_time",
              "trigger": { "event": "order", "filter": "event.properties.total >= 600" },
              "entry_key": "event.properties.order",
              "steps": [email(1, "thanks", "Thanks for {{ event.properties.order }}"),
                        wait(2, "hour", "1h"), push(3, "more")] },
            { "id": "back", "name": "Back", "segment": "buyers", "trigger": { "event": "cancel" },
              "entry": { "after": "P30D" },
              "steps": [wait(1, "days", "3d"), ask,
                { "id": "asked", "step_order": 3, "step_type": "EXIT", "config": { "reason": "asked" } }] },
            { "id": "club", "name": "Club", "segment": "regulars", "trigger": { "event": "order" },
              "steps": [push(1, "club"), wait(2, "week", "1w"), push(3, "again")] },
            { "id": "pulse", "name": "Pulse", "segment": "few", "trigger": { "event": "visit" },
              "steps": [pulse] },
        ],
        "campaigns": [{ "id": "spring", "name": "Spring", "flows": ["welcome", "club"] }]
    })
}
