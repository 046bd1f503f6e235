//! As many messages as go: pairs of one publisher and one consumer, fan-out and fan-in, with and without acceptance.

use super::{Case, Chart, Plan, Scenario, json, octets};
use crate::load;
use crate::load::flow::{Flow, Pace, Topology};
use crate::suite::measurement::Measurement;

/// See the module.
pub(super) struct Throughput;

impl Scenario for Throughput {
    fn name(&self) -> &'static str {
        "throughput"
    }

    fn about(&self) -> &'static str {
        "as many messages as go: 1→1, fan-out, fan-in, pairs; processor time of a message"
    }

    fn cases(&self, plan: &Plan<'_>) -> Vec<Case> {
        let profile = plan.profile;
        let pairs = profile.pairs.iter().copied().map(Topology::Pairs);
        let fan_outs = profile.fan_outs.iter().copied().map(Topology::FanOut);
        let fan_ins = profile.fan_ins.iter().copied().map(Topology::FanIn);
        let topologies: Vec<Topology> = pairs.chain(fan_outs).chain(fan_ins).collect();
        let mut cases = Vec::new();
        for &size in &profile.sizes {
            for &topology in &topologies {
                cases.push(case(plan, topology, size, false));
                // What accepting costs shows with one consumer.
                if topology == Topology::Pairs(1) {
                    cases.push(case(plan, topology, size, true));
                }
            }
        }
        cases
    }

    fn headline(&self) -> &'static [&'static str] {
        &[
            "messages in",
            "messages out",
            "broker CPU",
            "broker switches",
            "clients CPU",
            "clients switches",
            "broker memory",
        ]
    }

    fn charts(&self) -> &'static [Chart] {
        &[Chart::Bars("messages in"), Chart::Bars("broker CPU")]
    }
}

fn case(plan: &Plan<'_>, topology: Topology, size: usize, ack: bool) -> Case {
    let (time, in_flight) = (plan.profile.time(), plan.profile.in_flight);
    let accept = if ack { "explicit" } else { "none" };
    let accepted = if ack { ", accepted" } else { "" };
    let name = format!("{}, {}{accepted}", topology.name(), octets(size));
    let parameters =
        [("topology", json!(topology.name())), ("size", json!(size)), ("accept", json!(accept))];
    Case::new(name, parameters, move |bench| {
        let flow = Flow { topology, ack, ..bench.flow(size, Pace::InFlight(in_flight)) };
        let broker = bench.start(&flow)?;
        let outcome = load::run(&broker, &flow, time)?;
        broker.end()?;
        let mut measurement = Measurement::default();
        measurement.add_outcome(&flow, &outcome);
        Ok(measurement)
    })
}
