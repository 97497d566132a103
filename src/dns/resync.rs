//! Lists everything again now and then, to find what the watches have lost.
//!
//! `dns::watch` ──[`Resync::next`]──▶ [`Step`] ──▶ `dns::cache`
//!
//! A difference between that list and the cache may only be news that the watch has not brought yet, so what differs is
//! left alone for a while and repaired only if the watch has still told nothing of the object. A list that fails is given
//! up until the next round.

use std::time::Duration;

use futures::future::BoxFuture;
use kube::Api;
use kube::api::ListParams;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::cache::{Event, Input};
use super::objects::Kind;
use super::random::Random;
use super::watch::{Source, Sources};
use crate::k8s::watched::Watched;

/// How long the watch has to explain a difference.
const SETTLE: Duration = Duration::from_secs(5);

/// What is to be done.
pub enum Step {
    /// A list begins.
    Start,
    /// Objects of it, as [`Event::Compared`].
    Page(Vec<Input>),
    /// The list is complete: say with [`Resync::settle`] whether anything is in doubt.
    Listed,
    /// What is in doubt now is to be repaired.
    Settled,
    /// The list of that kind failed: forget the comparison.
    Failed(&'static str, kube::Error),
}

/// When the next list is due, and the one under way.
pub struct Resync {
    /// Zero: never.
    interval: Duration,
    random: Random,
    state: State,
}

enum State {
    Waiting(Instant),
    Listing { pages: mpsc::Receiver<Result<Vec<Input>, (&'static str, kube::Error)>>, _tasks: JoinSet<()> },
    Settling(Instant),
}

impl Resync {
    /// The first list is due after `interval`, give or take a tenth; zero: never.
    pub fn new(interval: Duration) -> Self {
        use std::hash::{BuildHasher as _, RandomState};
        let mut random = Random::new(RandomState::new().hash_one(0));
        let state = State::Waiting(due(interval, &mut random));
        Self { interval, random, state }
    }

    /// What is to be done next. May be dropped and called again.
    pub async fn next(&mut self, sources: &Sources) -> Step {
        if self.interval.is_zero() {
            std::future::pending::<()>().await;
        }
        match &mut self.state {
            State::Waiting(due) => {
                tokio::time::sleep_until(*due).await; // allow-sleep: the interval of the configuration
                let mut tasks = JoinSet::new();
                // One page waits while another is compared.
                let (sender, pages) = mpsc::channel(1);
                tasks.spawn(list_all(sources, sender));
                self.state = State::Listing { pages, _tasks: tasks };
                Step::Start
            }
            State::Listing { pages, .. } => match pages.recv().await {
                Some(Ok(page)) => Step::Page(page),
                Some(Err((kind, error))) => {
                    self.wait();
                    Step::Failed(kind, error)
                }
                None => {
                    self.settle(false);
                    Step::Listed
                }
            },
            State::Settling(until) => {
                tokio::time::sleep_until(*until).await; // allow-sleep: news on their way get time to arrive
                self.wait();
                Step::Settled
            }
        }
    }

    /// After [`Step::Listed`]: whether to give the watches time to explain differences.
    pub fn settle(&mut self, doubtful: bool) {
        let time = if doubtful { SETTLE } else { Duration::ZERO };
        self.state = State::Settling(Instant::now() + time);
    }

    fn wait(&mut self) {
        self.state = State::Waiting(due(self.interval, &mut self.random));
    }
}

/// In `interval`, give or take a tenth, so that replicas do not list together.
fn due(interval: Duration, random: &mut Random) -> Instant {
    Instant::now() + interval.mul_f64(0.9 + 0.2 * f64::from(random.below(1001)) / 1000.0)
}

type Pages = mpsc::Sender<Result<Vec<Input>, (&'static str, kube::Error)>>;

fn list_all(sources: &Sources, pages: Pages) -> impl Future<Output = ()> + Send + 'static {
    let mut lists: Vec<BoxFuture<'static, bool>> = lists(&sources.namespaces, &pages);
    lists.extend(self::lists(&sources.services, &pages));
    lists.extend(sources.slices.iter().flat_map(|it| self::lists(it, &pages)));
    lists.extend(sources.pods.iter().flat_map(|it| self::lists(it, &pages)));
    lists.extend(sources.sets.iter().flat_map(|it| self::lists(it, &pages)));
    async move {
        for list in lists {
            if !list.await {
                return;
            }
        }
    }
}

/// The lists of one kind.
fn lists<T: Kind>(source: &Source<T>, pages: &Pages) -> Vec<BoxFuture<'static, bool>> {
    if source.apis.is_empty() {
        let granted = source.granted.iter().cloned().map(|it| (source.wrap)(Event::Compared(it))).collect();
        let pages = pages.clone();
        return vec![Box::pin(async move { pages.send(Ok(granted)).await.is_ok() })];
    }
    source.apis.iter().map(|api| list(api, source, pages)).collect()
}

/// Every page of one list. `false`: it failed, or nobody listens any more.
fn list<T: Kind>(api: &Api<Watched<T>>, source: &Source<T>, pages: &Pages) -> BoxFuture<'static, bool> {
    let (api, config, wrap, pages) = (api.clone(), source.config.clone(), source.wrap, pages.clone());
    Box::pin(async move {
        let mut params = ListParams {
            label_selector: config.label_selector,
            field_selector: config.field_selector,
            limit: config.page_size,
            ..ListParams::default()
        };
        loop {
            let page = match api.list(&params).await {
                Ok(page) => page,
                Err(error) => {
                    let _ = pages.send(Err((T::KIND, error))).await;
                    return false;
                }
            };
            let objects = page.items.into_iter().filter_map(|it| it.view.value);
            let objects = objects.map(|it| wrap(Event::Compared(it))).collect();
            if pages.send(Ok(objects)).await.is_err() {
                return false;
            }
            params.continue_token = page.metadata.continue_.filter(|it| !it.is_empty());
            if params.continue_token.is_none() {
                return true;
            }
        }
    })
}
