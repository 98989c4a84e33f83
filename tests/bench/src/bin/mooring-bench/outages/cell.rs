//! One failure, and what one kind of fleet noticed of it.

use std::{fmt, rc::Rc, time::Duration};

use clap::ValueEnum;
use mooring_fleet::{
    context::{Context, Target},
    fleet,
    publisher::Publisher,
    stats::{ClientsRequest, Form, Protocol, PublishRequest, Stats},
};
use tokio::time::{sleep, timeout};

use super::{LOOK_EVERY, OutagesArgs, OutagesError, fault::Fault, stand::Stand, within};

/// Of all protocols together: each has some 20 clients, on all gateways.
const CHANNELS: usize = 20;
/// In each channel.
const PER_SECOND: f64 = 5.0;
const MESSAGE_BYTES: usize = 600;
const CLIENTS_PER_SECOND: f64 = 500.0;
const READY_WITHIN: Duration = Duration::from_secs(60);
const HEALED_WITHIN: Duration = Duration::from_secs(60);
/// Before the failure, and after everybody has heard again.
const CALM: Duration = Duration::from_secs(1);
/// For the last messages to be accepted or refused.
const SILENT_WITHIN: Duration = Duration::from_secs(15);
/// What has not arrived when nothing has for so long is lost.
const PATIENCE: Duration = Duration::from_secs(3);

/// Who is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Fleet {
    /// Clients of the centrifuge protocol.
    Centrifuge,
    /// Bare WebSockets.
    Raw,
    /// Half of each.
    Mixed,
    /// The same, in channels without history.
    Unkept,
}

impl Fleet {
    fn protocols(self) -> &'static [(Protocol, Form)] {
        const BOTH: [(Protocol, Form); 2] = [(Protocol::Centrifuge, Form::Json), (Protocol::Raw, Form::Text)];
        match self {
            Self::Centrifuge => &BOTH[..1],
            Self::Raw => &BOTH[1..],
            Self::Mixed | Self::Unkept => &BOTH,
        }
    }
}

impl fmt::Display for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Centrifuge => "centrifuge",
            Self::Raw => "raw",
            Self::Mixed => "mixed",
            Self::Unkept => "mixed, no history",
        })
    }
}

/// What was noticed, from shortly before the failure on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cell {
    /// Redis still had all that anybody missed.
    pub is_kept: bool,
    /// Connections that ended, and how many within one second at most.
    pub closed: u64,
    pub closed_in_a_second: u64,
    pub accepted: u64,
    /// Deliveries of accepted messages that never came, without a word.
    pub lost: u64,
    /// Clients that were told that they may have missed something.
    pub told: u64,
    /// Raw clients, which can't be told, for which a gateway counted that, and the deliveries that were missed then.
    pub counted: u64,
    pub missed: u64,
    pub repeated: u64,
    pub out_of_order: u64,
    /// Subscriptions that a gateway ended, for the client to take up again, and how many within one second at most.
    pub resubscribed: u64,
    pub resubscribed_in_a_second: u64,
    /// Publishes that a gateway answered with an error, and those that it did not answer.
    pub refused: u64,
    pub unanswered: u64,
    /// Until everybody had got a message that was sent after the failure.
    pub healed: Option<Duration>,
    /// Until every gateway said that all clients of the centrifuge protocol are present.
    pub present: Option<Duration>,
}

impl Cell {
    /// What no failure of Redis may do.
    pub fn faults(&self) -> Vec<String> {
        let counts = [
            (self.closed, "closed"),
            (self.lost, "lost"),
            (self.repeated, "repeated"),
            (self.out_of_order, "out of order"),
            (self.unanswered, "publishes not answered"),
        ];
        let unfilled = [(self.told, "told of a loss"), (self.missed, "missed")];
        let unfilled = unfilled.into_iter().filter(|_| self.is_kept);
        let counts = counts.into_iter().chain(unfilled).filter(|(count, _)| *count > 0);
        let counts = counts.map(|(count, what)| format!("{count} {what}"));
        let unhealed = [(self.healed, "not live again"), (self.present, "not all present again")];
        let unhealed = unhealed.into_iter().filter(|(healed, _)| healed.is_none());
        counts.chain(unhealed.map(|(_, what)| what.to_owned())).collect()
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults = self.faults();
        let faults = if faults.is_empty() { "good".to_owned() } else { faults.join(", ") };
        let Self { accepted, told, counted, resubscribed, refused, .. } = self;
        let [healed, present] = [self.healed, self.present].map(seconds);
        write!(
            f,
            "{faults}; {accepted} accepted, {refused} refused, {told} told, {counted} counted, {resubscribed} resubscribed, live after {healed} s, present after {present} s"
        )
    }
}

/// With one decimal place.
pub fn seconds(time: Option<Duration>) -> String {
    time.map_or("never".to_owned(), |time| format!("{:.1}", time.as_secs_f64()))
}

/// A stand, and who is connected to it.
struct Run {
    context: Rc<Context>,
    clients: fleet::Fleet,
    publishers: Vec<Publisher>,
    stand: Stand,
    /// Clients of the centrifuge protocol, and channels that they are in.
    presence: (u64, usize),
}

pub async fn measure(
    args: &OutagesArgs,
    fault: Fault,
    fleet: Fleet,
    lasting: Duration,
) -> Result<Cell, OutagesError> {
    let mut run = Run::start(args, fleet).await?;
    let gaps = run.stand.gaps().await?;
    run.context.auditor().reset(run.context.now());
    sleep(CALM).await;
    fault.play(&mut run.stand, lasting).await?;
    let over = run.context.now();
    let healed = run.all_hear_from(over, HEALED_WITHIN).await.then(|| run.context.now() - over);
    let present = run.all_are_present(HEALED_WITHIN).await.then(|| run.context.now() - over);
    sleep(CALM).await;
    run.silence().await;
    let counted = run.stand.gaps().await? - gaps;
    let is_kept = fault.spares_history() && fleet != Fleet::Unkept;
    Ok(Cell { is_kept, healed, present, ..run.cell(counted) })
}

impl Run {
    /// All are connected, and hear what is published on each gateway.
    async fn start(args: &OutagesArgs, fleet: Fleet) -> Result<Self, OutagesError> {
        let stand = Stand::start(&args.gateway, &args.state, fleet != Fleet::Unkept).await?;
        let addresses = stand.gateways.iter().map(|gateway| gateway.client);
        let urls: Vec<String> = addresses.clone().map(|address| format!("http://{address}")).collect();
        let context = Rc::new(Context::new(Target::at(addresses.collect())));
        let clients = fleet::Fleet::new(context.clone());
        let protocols = fleet.protocols();
        let (channels, count) = (CHANNELS / protocols.len(), args.clients / protocols.len());
        let mut run = Self { context, clients, publishers: Vec::new(), stand, presence: (0, channels) };
        for (protocol, _) in protocols {
            if *protocol == Protocol::Centrifuge {
                run.presence.0 = count as u64;
            }
            let per_second = CLIENTS_PER_SECOND;
            run.clients.set(&ClientsRequest { protocol: *protocol, count, channels, per_second });
        }
        if !within(READY_WITHIN, || run.subscribed() == run.clients.wanted()).await {
            return Err(OutagesError::Failed(format!("{} clients have subscribed", run.subscribed())));
        }
        for (_, form) in protocols {
            let (form, urls) = (*form, urls.clone());
            let publisher = Publisher::new(run.context.clone(), None);
            publisher.publish(&PublishRequest {
                form,
                channels,
                per_second: PER_SECOND,
                total: None,
                size: MESSAGE_BYTES,
                urls,
            });
            run.publishers.push(publisher);
        }
        if !run.all_hear_from(run.context.now(), READY_WITHIN).await {
            return Err(OutagesError::Failed("not everybody hears what is published".to_owned()));
        }
        if !run.all_are_present(READY_WITHIN).await {
            return Err(OutagesError::Failed("not everybody is present".to_owned()));
        }
        Ok(run)
    }

    fn stats(&self) -> Stats {
        self.context.auditor().stats(self.clients.wanted(), self.context.now())
    }

    fn subscribed(&self) -> u64 {
        self.stats().clients.subscribed
    }

    async fn all_hear_from(&self, time: Duration, limit: Duration) -> bool {
        within(limit, || self.context.auditor().all_heard_since(time)).await
    }

    async fn all_are_present(&self, limit: Duration) -> bool {
        let (clients, channels) = self.presence;
        let looking = async {
            while clients > 0 && !self.stand.are_present(clients, channels).await {
                sleep(LOOK_EVERY).await;
            }
        };
        timeout(limit, looking).await.is_ok()
    }

    /// Publishes nothing more, and waits for what is under way.
    async fn silence(&self) {
        let none = PublishRequest { per_second: 0.0, ..PublishRequest::default() };
        self.publishers.iter().for_each(|publisher| publisher.publish(&none));
        // A message that is never accepted is nobody's loss.
        within(SILENT_WITHIN, || self.stats().published.running == 0).await;
        let (mut behind, mut since) = (self.behind(), self.context.now());
        while behind > 0 && self.context.now() - since < PATIENCE {
            sleep(LOOK_EVERY).await;
            let left = self.behind();
            if left != behind {
                (behind, since) = (left, self.context.now());
            }
        }
    }

    fn behind(&self) -> u64 {
        self.stats().deliveries.behind
    }

    fn cell(&self, counted: u64) -> Cell {
        let Stats { deliveries, published, reconnects, .. } = self.stats();
        let missing = deliveries.lost + deliveries.behind;
        // Clients of centrifuge are told themselves, and owed nothing of what came before.
        let are_raw = self.context.auditor().losers(Protocol::Centrifuge) == 0;
        let is_counted = are_raw && counted >= self.context.auditor().losers(Protocol::Raw);
        let (lost, missed) = if is_counted { (0, missing) } else { (missing, 0) };
        Cell {
            closed: reconnects.closed,
            closed_in_a_second: reconnects.peak_closed_per_second,
            accepted: published.acknowledged,
            lost,
            told: deliveries.told_not_recovered,
            counted,
            missed,
            repeated: deliveries.duplicated,
            out_of_order: deliveries.out_of_order,
            resubscribed: deliveries.unsubscribed,
            resubscribed_in_a_second: deliveries.peak_unsubscribed_per_second,
            refused: published.failed_tries - published.unanswered_tries,
            unanswered: published.unanswered_tries,
            ..Cell::default()
        }
    }
}
