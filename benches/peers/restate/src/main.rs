//! The welcome series as a Restate service, the caller in the same process: e-mail, wait of a second,
//! e-mail, push, exit. Each step that does something is a `run`, which Restate makes durable before
//! the next begins.
//!
//! Arguments: enrollments, how many are under way at once, the ports of the server's ingress and admin.

use std::{
    env,
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use restate_sdk::prelude::*;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Semaphore};

/// Steps that were taken, of which there must be five for each enrollment in the end.
static STEPS: AtomicU64 = AtomicU64::new(0);

/// Renders a message and sends it nowhere.
async fn send(text: String) -> Result<(), HandlerError> {
    std::hint::black_box(text);
    STEPS.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

struct Series;

#[restate_sdk::service]
impl Series {
    #[handler]
    async fn welcome(&self, ctx: Context<'_>, event: Json<Value>) -> Result<(), HandlerError> {
        let event = event.into_inner();
        let (customer, plan) = (event["customer"].to_string(), event["plan"].to_string());
        let text = format!("Welcome, {customer}: {plan}");
        ctx.run(|| send(text)).await?;
        ctx.sleep(Duration::from_secs(1)).await?;
        STEPS.fetch_add(1, Ordering::Relaxed);
        let text = format!("A tip for {customer}: {plan}");
        ctx.run(|| send(text)).await?;
        let text = format!("Hello {customer}: {plan}");
        ctx.run(|| send(text)).await?;
        STEPS.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let numbers: Vec<u64> = env::args().skip(1).map(|it| it.parse()).collect::<Result<_, _>>()?;
    let [enrollments, under_way, ingress, admin] = numbers[..] else {
        return Err("ENROLLMENTS UNDER_WAY INGRESS_PORT ADMIN_PORT".into());
    };
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let here = format!("http://{}", listener.local_addr()?);
    let endpoint = Endpoint::builder().bind(Series).build();
    tokio::spawn(async move { HttpServer::new(endpoint).serve(listener).await });

    let client = reqwest::Client::new();
    let deployments = format!("http://127.0.0.1:{admin}/deployments");
    let registered = client.post(deployments).json(&json!({ "uri": here })).send().await?;
    registered.error_for_status()?;

    let series = format!("http://127.0.0.1:{ingress}/Series/welcome");
    let room = Arc::new(Semaphore::new(usize::try_from(under_way)?));
    let started = Instant::now();
    let mut calls = Vec::new();
    for n in 0..enrollments {
        let permit = Arc::clone(&room).acquire_owned().await?;
        let event = json!({ "customer": format!("c{n:08}"), "plan": "free", "note": "x".repeat(150) });
        let call = client.post(&series).json(&event);
        calls.push(tokio::spawn(async move {
            let ended = call.send().await.and_then(|it| it.error_for_status()).map(drop);
            drop(permit);
            ended
        }));
    }
    for call in calls {
        call.await??;
    }
    let seconds = started.elapsed().as_secs_f64();
    let steps = STEPS.load(Ordering::Relaxed);
    if steps != 5 * enrollments {
        return Err(format!("{steps} steps of {}", 5 * enrollments).into());
    }
    println!(
        "{}",
        json!({ "enrollments": enrollments, "seconds": seconds, "under_way": under_way,
                "step_transitions_per_s": 5.0 * enrollments as f64 / seconds })
    );
    // The server is ended by whoever started it.
    std::process::exit(0)
}
