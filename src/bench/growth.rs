//! What a step costs while more and more enrollments wait: the same welcome series, again and again,
//! over one directory that grows.

use std::{collections::BTreeMap, sync::Arc};

use serde::Serialize;

use super::{
    Error, Place, Scratch,
    clock::Shifted,
    float,
    load::{self, register},
    machine::{self, Ground},
    rate,
    throughput::{self, STEPS},
    timers,
};
use crate::{Onward, Options, base::Clock, delivery::Channels, engine::ClockCheck};

/// The figures of one run.
#[derive(Debug, Clone, Serialize)]
pub struct Growth {
    /// `growth`.
    pub scenario: &'static str,
    /// What it ran on.
    #[serde(flatten)]
    pub ground: Ground,
    /// Enrollments through the welcome series at each size.
    pub enrollments: u64,
    /// What a step costs, by how many enrollments wait.
    pub waiting: BTreeMap<u64, Cost>,
    /// The most that a step costs as a multiple of the least.
    pub growth: f64,
    /// The most memory that the process had.
    pub rss_mib: Option<f64>,
}

/// What the welcome series took.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Cost {
    /// Steps that enrollments left per second.
    pub step_transitions_per_s: f64,
    /// Microseconds per step.
    pub step_us: f64,
    /// Processor time of the whole process per step, in microseconds.
    pub step_cpu_us: Option<f64>,
    /// What the process has in memory after it.
    pub rss_mib: Option<f64>,
    /// Bytes of the data directory after it.
    pub disk_bytes: u64,
}

/// Runs the scenario in a directory of its own at `place`, which is removed afterwards. The
/// sizes ascend.
pub fn growth(place: Place<'_>, sizes: &[u64], enrollments: u64) -> Result<Growth, Error> {
    let scratch = Scratch::new(place)?;
    let ground = Ground::of(&scratch);
    let data = scratch.data("data")?;
    let clock = Arc::new(Shifted::default());
    let shifted: Arc<dyn Clock> = Arc::<Shifted>::clone(&clock);
    let options = Options { clock: shifted, clock_check: ClockCheck::Trust, ..scratch.options() };
    let onward = Onward::open_with(&data, &Channels::all(load::Nothing), &options)?;
    let series = series();
    let documents = [("series", series.as_bytes()), ("waits", timers::DEFINITIONS)];
    onward.publish(&documents)?.wait()?;
    let (mut waiting, mut there, mut done) = (BTreeMap::new(), 0, 0);
    let all = sizes.last().copied().unwrap_or_default();
    for size in sizes {
        register(&onward, &clock, there..*size, all)?;
        there = there.max(*size);
        // Behind all who wait, and at each size others.
        let first = load::ANYWHERE + done;
        done += enrollments;
        throughput::make_customers(&onward, first..first + enrollments)?;
        let cpu = machine::process_cpu_seconds();
        let series = throughput::series(&onward, first..first + enrollments, done)?;
        let cpu = machine::process_cpu_seconds().zip(cpu).map(|(after, before)| after - before);
        load::expect(onward.engine(), *size, |flow| flow.active)?;
        let micros = |seconds: f64| seconds * 1e6 / float(enrollments * STEPS);
        let cost = Cost {
            step_transitions_per_s: rate(enrollments * STEPS, series.seconds),
            step_us: micros(series.seconds),
            step_cpu_us: cpu.map(micros),
            rss_mib: machine::rss_mib(),
            disk_bytes: machine::bytes_of(&data),
        };
        waiting.insert(*size, cost);
    }
    onward.close()?;
    let most = waiting.values().map(|it| it.step_us).fold(0.0, f64::max);
    let least = waiting.values().map(|it| it.step_us).fold(f64::INFINITY, f64::min);
    let rss_mib = machine::peak_rss_mib();
    let growth = most / least;
    Ok(Growth { scenario: "growth", ground, enrollments, waiting, growth, rss_mib })
}

/// The welcome series without its second of waiting, which would be most of what a step takes.
fn series() -> String {
    let text = String::from_utf8_lossy(throughput::DEFINITIONS);
    text.replace(throughput::WAIT, r#""duration_days": 0.0000001"#)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_series_hardly_waits() {
        assert!(!series().contains(throughput::WAIT) && series().contains("duration_days"));
    }

    #[test]
    fn each_size_has_its_cost() {
        let parent = tempfile::tempdir().unwrap();
        let figures = growth(Place::tested(parent.path()), &[10, 30], 20).unwrap();
        assert_eq!(figures.waiting.keys().collect::<Vec<_>>(), [&10, &30]);
        assert!(figures.waiting.values().all(|it| it.step_us > 0.0 && it.disk_bytes > 0));
        assert!(figures.growth >= 1.0);
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
    }
}
