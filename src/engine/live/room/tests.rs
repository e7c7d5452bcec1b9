//! What becomes of a stop that is there before the disk is known to be full.

use super::*;
use crate::{
    engine::{
        ClockCheck, Engine,
        present::Past,
        recover,
        runner::reports,
        tests::full::{Disk, Manual, opening},
        ticket::Ticket,
    },
    machine::{input::Input, record::Source},
    model::CustomerUpdate,
    store::Store,
};

#[test]
fn a_stop_taken_in_before_a_failed_write_is_known_does_not_wait_for_room() {
    let disk = Disk::new();
    let store: Arc<dyn Store> = Arc::<Disk>::clone(&disk);
    let owned = recover::own_store(&store, &opening()).unwrap();
    let deliveries = Deliveries::new(Box::new(|delivery| Err(Box::new(delivery))));
    let (runner, worker) = Runner::stepped(owned, deliveries).unwrap();
    let past = Past { recorded: None, alive: runner.alive() };
    let present = Present::start(Manual::new(), ClockCheck::Strict, past).unwrap();
    let watch = Arc::clone(runner.watch());
    let home = Home { site: Site::Store(store), opening: opening(), watch };
    let (engine, mut live) = Engine::over(runner, reports().1, present, home);
    // A write is handed over and fails, and before the engine hears of it somebody closes it.
    let update = CustomerUpdate::parse(br#"{"id":"ann"}"#).unwrap();
    let waiting = engine.submit(Input::Customer { source: Source::Api, update }).unwrap();
    live.round().unwrap();
    disk.fill_after(0);
    worker.lock().unwrap().step(false);
    let (reply, closing) = Ticket::watched(&live.home.watch);
    engine.inbox.send(Message::Stop(reply)).unwrap();
    let Err(Error::Store(error)) = live.round() else { panic!("the write failed") };
    assert!(error.is_no_space() && live.stop.is_some(), "{error}");
    // With nobody left to talk to, one that does wait for room ends as well, and answers nobody.
    drop(engine);
    assert!(live.await_room(&error).unwrap().is_none());
    let closed = closing.wait();
    assert!(matches!(closed, Err(Error::NoSpace(_))), "{closed:?}");
    assert!(matches!(waiting.wait(), Err(Error::Unknown)));
}
