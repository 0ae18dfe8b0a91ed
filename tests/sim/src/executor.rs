//! A single-threaded executor whose order is fixed: tasks run in the order in which they were woken.
//!
//! Invariant: nothing runs but within [`Executor::run`]. It has no timers and no sockets; a task that waits is woken by a
//! channel or by the simulated clock. Test to read first: `tasks_run_in_the_order_they_were_woken`.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};

use crate::time::lock;

type Task = Pin<Box<dyn Future<Output = ()>>>;
type Ready = Arc<Mutex<VecDeque<u64>>>;

/// Tasks and who of them may go on.
#[derive(Default)]
pub struct Executor {
    tasks: BTreeMap<u64, Task>,
    ready: Ready,
    next: u64,
}

struct TaskWaker {
    id: u64,
    ready: Ready,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        let mut ready = lock(&self.ready);
        if !ready.contains(&self.id) {
            ready.push_back(self.id);
        }
    }
}

impl Executor {
    /// Adds a task; it runs with the next [`Self::run`].
    pub fn spawn(&mut self, task: impl Future<Output = ()> + 'static) {
        let id = self.next;
        self.next += 1;
        self.tasks.insert(id, Box::pin(task));
        lock(&self.ready).push_back(id);
    }

    /// Runs what may go on until nothing may; true if anything ran.
    pub fn run(&mut self) -> bool {
        let mut ran = false;
        loop {
            let Some(id) = lock(&self.ready).pop_front() else { return ran };
            let Some(task) = self.tasks.get_mut(&id) else { continue };
            ran = true;
            let waker = Waker::from(Arc::new(TaskWaker { id, ready: Arc::clone(&self.ready) }));
            if task.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                self.tasks.remove(&id);
            }
        }
    }

    /// True if anything may go on.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        !lock(&self.ready).is_empty()
    }

    /// Tasks that have not ended.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// True without tasks.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_run_in_the_order_they_were_woken() {
        let (mut executor, seen) = (Executor::default(), Arc::new(Mutex::new(Vec::new())));
        for n in 0..3 {
            let (send, receive) = tokio::sync::oneshot::channel::<()>();
            let (first, second) = (Arc::clone(&seen), Arc::clone(&seen));
            executor.spawn(async move {
                let _ = receive.await;
                lock(&first).push(n);
            });
            executor.spawn(async move {
                lock(&second).push(10 + n);
                drop(send);
            });
        }
        assert!(executor.run());
        assert_eq!(*lock(&seen), [10, 11, 12, 0, 1, 2]);
        assert!(executor.is_empty() && !executor.run());
    }
}
