//! The failures of Redis, and how each is done.

use std::{fmt, io, time::Duration};

use clap::ValueEnum;
use mooring_fleet::proxy;
use tokio::time::sleep;

use super::{stand::Stand, within};

const DELAY: Duration = Duration::from_millis(500);
/// Between two answers that are none.
const GARBAGE_EVERY: Duration = Duration::from_secs(1);
/// Never ends, and has written something before.
const ENDLESS_SCRIPT: &str = r#"EVAL "redis.call('SET', 'half', '1') while true do end" 0"#;
/// What Redis logs of a connection that it ends because too much waits for it.
const OVERRUN: &str = "overcoming of output buffer limits";
/// Redis's limits of what may wait for a gateway that does not read it: next to nothing, and the default.
const NARROW: &str = "CONFIG SET client-output-buffer-limit \"pubsub 16384 0 0\"";
const WIDE: &str = "CONFIG SET client-output-buffer-limit \"pubsub 33554432 8388608 60\"";
const OVERRUN_WITHIN: Duration = Duration::from_secs(30);

/// A failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Fault {
    /// Ends as it is asked to, and is started again at once.
    Restarted,
    /// Killed, and started again without what it kept.
    Emptied,
    /// All its threads stand still.
    Stopped,
    /// Its answers come late.
    Slow,
    /// One gateway has no connection to it.
    CutOff,
    /// It refuses whatever needs memory.
    Full,
    /// In a script that does not end, for whose time it answers that it is busy; killed, and started again.
    Killed,
    /// Each connection is answered with something that is no reply, again and again.
    Garbage,
    /// One gateway reads nothing, until Redis ends its connections.
    Overrun,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Restarted => "restarted",
            Self::Emptied => "killed, all it kept lost",
            Self::Stopped => "stopped",
            Self::Slow => "slow by 500 ms",
            Self::CutOff => "cut off from one gateway",
            Self::Full => "memory full",
            Self::Killed => "busy in a script, and killed in it",
            Self::Garbage => "answers with garbage",
            Self::Overrun => "output buffer of one gateway overrun",
        })
    }
}

impl Fault {
    /// Whether what was published is still there afterwards.
    pub fn spares_history(self) -> bool {
        self != Self::Emptied
    }

    /// Does it; it is over when this returns.
    pub async fn play(self, stand: &mut Stand, lasting: Duration) -> io::Result<()> {
        let Stand { engine, proxies, .. } = stand;
        match self {
            Self::Restarted => {
                engine.end();
                engine.start_again()?;
            }
            Self::Emptied => {
                engine.kill()?;
                engine.empty()?;
                engine.start_again()?;
            }
            Self::Stopped => {
                engine.pause()?;
                sleep(lasting).await;
                engine.resume()?;
            }
            Self::Slow => {
                proxies.iter().for_each(|proxy| proxy.set(proxy::Fault::Slow(DELAY)));
                sleep(lasting).await;
            }
            Self::CutOff => {
                proxies[0].set(proxy::Fault::CutOff);
                sleep(lasting).await;
            }
            Self::Full => {
                engine.command("CONFIG SET maxmemory 1")?;
                sleep(lasting).await;
                engine.command("CONFIG SET maxmemory 0")?;
            }
            Self::Killed => {
                engine.command("CONFIG SET busy-reply-threshold 500")?;
                let _in_it = engine.send(ENDLESS_SCRIPT)?;
                sleep(lasting).await;
                engine.kill()?;
                engine.start_again()?;
            }
            Self::Garbage => {
                for _ in 0..lasting.div_duration_f64(GARBAGE_EVERY).ceil() as u32 {
                    proxies.iter().for_each(|proxy| proxy.set(proxy::Fault::Garbage));
                    sleep(GARBAGE_EVERY).await;
                }
            }
            Self::Overrun => {
                engine.command(NARROW)?;
                proxies[0].set(proxy::Fault::Stalled);
                sleep(lasting).await;
                if !within(OVERRUN_WITHIN, || engine.has_logged(OVERRUN)).await {
                    return Err(io::Error::other("no output buffer was overrun"));
                }
                engine.command(WIDE)?;
            }
        }
        stand.proxies.iter().for_each(|proxy| proxy.set(proxy::Fault::None));
        Ok(())
    }
}
