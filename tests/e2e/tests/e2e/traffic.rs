//! Orders from an app's container, several at once, and the verdict against the server's own journal.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::ensure;
use e2e::Cluster;

use crate::world::SHOP;

/// How long the last orders may take.
const PATIENCE: Duration = Duration::from_secs(300);

/// Orders that an app makes by itself, while the scenario does other things.
pub(crate) struct Traffic<'a> {
    cluster: &'a Cluster,
    pod: String,
    tag: String,
    workers: usize,
}

/// What the app got, by the id of each order.
pub(crate) struct Outcome {
    tag: String,
    /// The answer named the order.
    pub(crate) answered: Vec<String>,
    /// An error, or no answer.
    pub(crate) failed: Vec<String>,
    /// No engine took the call: it never began.
    pub(crate) refused: Vec<String>,
}

impl<'a> Traffic<'a> {
    /// Begins: each worker makes `orders` orders, one after another, by POST. `tag` tells them from others.
    pub(crate) async fn begin(
        cluster: &'a Cluster,
        pod: &str,
        tag: &str,
        workers: usize,
        orders: usize,
    ) -> anyhow::Result<Self> {
        let script = format!(
            r#"cat >/tmp/traffic-{tag} <<'END'
worker() {{
  n=0
  while [ $n -lt {orders} ] && [ ! -e /tmp/stop-{tag} ]; do
    n=$((n+1)); id={tag}-$1-$n
    if timeout 300 wget -q -O /tmp/answer-$id --post-data=x "http://localhost:8470/to/erp/cgi-bin/order?id=$id" 2>/tmp/error-$id && [ "$(cat /tmp/answer-$id)" = "ordered $id" ]
    then echo "$id answered"; else echo "$id failed $(cat /tmp/error-$id)"; sleep 1; fi >>/tmp/results-{tag}
    rm -f /tmp/answer-$id /tmp/error-$id
  done
  echo >/tmp/ended-{tag}-$1
}}
for w in $(seq {workers}); do worker $w & done
wait
END
touch /tmp/results-{tag}
sh /tmp/traffic-{tag} </dev/null >/dev/null 2>&1 &"#
        );
        cluster.exec(SHOP, pod, "app", &["sh", "-c", &script]).await?;
        Ok(Self { cluster, pod: pod.to_owned(), tag: tag.to_owned(), workers })
    }

    /// How many orders ended so far.
    pub(crate) async fn ended(&self) -> anyhow::Result<usize> {
        let script = format!("cat /tmp/results-{}", self.tag);
        Ok(self.cluster.exec(SHOP, &self.pod, "app", &["sh", "-c", &script]).await?.lines().count())
    }

    /// Waits until so many orders ended.
    pub(crate) async fn reach(&self, orders: usize) -> anyhow::Result<()> {
        let what = format!("{orders} orders ended");
        self.cluster
            .wait_until(SHOP, &what, PATIENCE, || async { Ok((self.ended().await? >= orders).then_some(())) })
            .await
    }

    /// Begins no more orders, and waits for those under way.
    pub(crate) async fn stop(self) -> anyhow::Result<Outcome> {
        let script = format!("touch /tmp/stop-{}", self.tag);
        self.cluster.exec(SHOP, &self.pod, "app", &["sh", "-c", &script]).await?;
        self.end().await
    }

    /// Waits for all orders.
    pub(crate) async fn end(self) -> anyhow::Result<Outcome> {
        let count = format!("ls /tmp | grep -c ended-{}- || true", self.tag);
        self.cluster
            .wait_until(SHOP, "all workers ended", PATIENCE, || async {
                let ended = self.cluster.exec(SHOP, &self.pod, "app", &["sh", "-c", &count]).await?;
                Ok((ended.trim() == self.workers.to_string()).then_some(()))
            })
            .await?;
        let script = format!("cat /tmp/results-{}", self.tag);
        let results = self.cluster.exec(SHOP, &self.pod, "app", &["sh", "-c", &script]).await?;
        let mut outcome = Outcome { tag: self.tag, answered: Vec::new(), failed: Vec::new(), refused: Vec::new() };
        for line in results.lines() {
            match line.split_once(' ') {
                Some((id, "answered")) => outcome.answered.push(id.to_owned()),
                Some((id, why)) if why.contains("can't connect") => outcome.refused.push(id.to_owned()),
                _ => outcome.failed.push(line.to_owned()),
            }
        }
        Ok(outcome)
    }
}

impl Outcome {
    /// Compares with the server's journal: every answered order stands there once, no order twice, none that
    /// was not taken, and at most `failures` failed.
    pub(crate) fn check(&self, journal: &BTreeMap<String, usize>, failures: usize) -> anyhow::Result<()> {
        let doubled: Vec<_> = journal.iter().filter(|(line, count)| line.contains(&self.tag) && **count > 1).collect();
        ensure!(doubled.is_empty(), "executed more than once: {doubled:?}");
        let lost: Vec<_> = self.answered.iter().filter(|id| !journal.contains_key(&format!("POST {id}"))).collect();
        ensure!(lost.is_empty(), "answered and not executed: {lost:?}");
        let begun: Vec<_> = self.refused.iter().filter(|id| journal.contains_key(&format!("POST {id}"))).collect();
        ensure!(begun.is_empty(), "refused and executed: {begun:?}");
        ensure!(self.failed.len() <= failures, "more than {failures} orders failed: {:#?}", self.failed);
        ensure!(!self.answered.is_empty(), "no order was answered");
        println!(
            "  orders {}: {} answered, {} failed {:?}",
            self.tag,
            self.answered.len(),
            self.failed.len(),
            self.failed
        );
        Ok(())
    }
}
