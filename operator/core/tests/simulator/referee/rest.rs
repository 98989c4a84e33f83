//! Invariants 2 and 7, and the end of every history: all is as the user wants it, the status says so, and nothing is done any more.

use super::Violation;
use crate::wish::Size;
use crate::world::{Fact, World};

/// Why the cluster is not yet as it should be.
pub fn settled(world: &World) -> Result<(), String> {
    let Some(wish) = world.wish() else { return Err("the spec can't work".into()) };
    if !world.clients.are_all_connected() {
        return Err("clients wait for a connection".into());
    }
    for (name, pod) in world.own_pods() {
        let old = pod.made_for != wish.pods;
        if !pod.stays() || !pod.object.ready || pod.gateway.drain.is_some() || old {
            return Err(format!("{name} is {:?}, old {old}, drains {:?}", pod.object, pod.gateway.drain));
        }
    }
    let (pods, clients) = (world.own_pods().count(), world.own_clients());
    let wanted = wish.asked(clients);
    let tolerated = match wish.size {
        Size::Fixed(_) => false,
        // Fewer are not worth the trouble within the tolerance of a scale-down, 10 %.
        Size::Scaled { per_pod, .. } => pods > wanted && clients * 10 >= pods * per_pod * 9,
    };
    if pods == wanted || tolerated { Ok(()) } else { Err(format!("{pods} pods, and {wanted} are wanted")) }
}

/// Nothing is written and nobody is told anything while nothing changes.
pub fn rests(world: &World) -> Result<(), Violation> {
    let busy = world.facts.iter().find(|fact| !matches!(fact, Fact::Closed(_) | Fact::Evicted(_)));
    let invariant =
        "2, 7: a plan of what was done has no actions, and nothing is written while nothing changes";
    busy.map_or(Ok(()), |fact| Err(Violation { second: world.now, invariant, what: format!("{fact:?}") }))
}

/// At rest the status says what is.
pub fn tells_the_truth(world: &World) -> Result<(), Violation> {
    let said =
        world.status.as_ref().map(|status| (status.ready_replicas, status.replicas, status.connections));
    let (pods, clients) = (world.own_pods().count(), world.own_clients());
    let true_ones =
        (i32::try_from(pods).unwrap(), i32::try_from(pods).unwrap(), i64::try_from(clients).unwrap());
    if said == Some(true_ones) {
        return Ok(());
    }
    let what = format!("ready, all and connections are {true_ones:?}, and the status says {said:?}");
    Err(Violation { second: world.now, invariant: "the status says what is", what })
}
