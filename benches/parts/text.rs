//! What operators write: a condition that holds, a template that is rendered. The baselines are
//! the same comparison and the same text in Rust.

use std::hint::black_box;

use criterion::Criterion;
use onward::{
    base::Timestamp,
    model::{Condition, Customer, Event, Facts, Fields, Form, JsonText, Place, Template, Unknown},
};

pub(super) fn bench(criterion: &mut Criterion) {
    condition(criterion);
    template(criterion);
}

fn condition(criterion: &mut Criterion) {
    let line = br#"{"name":"buy","customer":"c1","properties":{"plan":"free","total":700}}"#;
    let event = Event::parse(line).expect("a valid event");
    let customer = Customer::new(event.customer.clone());
    let facts = Facts {
        reads: &std::cell::Cell::new(0),
        now: Timestamp::EPOCH,
        id: &event.customer,
        customer: Some(&customer),
        event: Some(&event),
        flow: None,
        activity: &|_| None,
        segment: &|_| Err(Unknown("there are none".to_owned())),
    };
    let source = "event.properties.plan == 'free'";
    let compiled = Condition::compile(source, Place::TriggerFilter).expect("a valid condition");
    assert_eq!(compiled.holds(&facts), Ok(true), "the condition holds");

    let mut group = criterion.benchmark_group("condition with one comparison");
    group.bench_function("holds", |bencher| {
        bencher.iter(|| black_box(&compiled).holds(&facts));
    });
    group.bench_function("baseline: parse the properties and compare", |bencher| {
        bencher.iter(|| {
            let value = black_box(&event).properties.value();
            value.get("plan").and_then(|plan| plan.as_str()) == Some("free")
        });
    });
    group.finish();
}

fn template(criterion: &mut Criterion) {
    let source = "Hello {{ customer.id }}, thank you for choosing {{ trigger.properties.plan }}.";
    let template = Template::compile(source, Form::Text).expect("a valid template");
    let text = |text: &str| JsonText::new(&text.into());
    let values: Fields = [("customer.id", text("c1")), ("trigger.properties.plan", text("free"))]
        .into_iter()
        .collect();
    let rendered = template.render(&values).expect("every variable has a value");
    assert_eq!(rendered, "Hello c1, thank you for choosing free.");

    let mut group = criterion.benchmark_group("template with two variables");
    let render = |values: &Fields| template.render(values);
    group.bench_function("render on a stack of its own", |bencher| {
        bencher.iter(|| render(black_box(&values)));
    });
    group.bench_function("render on a worker's stack", |bencher| {
        // As many bytes as a worker has, and some for the harness.
        let bytes = onward::base::limits::WORKER_STACK_BYTES + 1024 * 1024;
        let worker = std::thread::Builder::new().stack_size(bytes);
        std::thread::scope(|scope| {
            let run = || bencher.iter(|| render(black_box(&values)));
            worker.spawn_scoped(scope, run).expect("the system starts threads");
        });
    });
    group.bench_function("baseline: format", |bencher| {
        let (id, plan) = ("c1", "free");
        bencher.iter(|| {
            format!("Hello {}, thank you for choosing {}.", black_box(id), black_box(plan))
        });
    });
    group.finish();
}
