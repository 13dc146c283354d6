//! The signals of a command that stands for an app: they are passed on.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Instant;

use isopod_runtime::control::{self, Request};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::patience::Patience;

/// The signals that are passed on (signal(7)).
const SIGNALS: [u8; 6] = [1, 2, 3, 10, 12, 15];

/// Those of them that ask for an end.
const ENDS: [u8; 3] = [1, 2, 15];

/// Passes the signals that this command gets on to the app or to all of the pod in that directory, or to nobody; `given_up`
/// becomes the number of the one that ends this command whatever the app does.
pub(crate) fn forward(whom: Option<(&Path, Option<u16>)>, given_up: &Arc<AtomicU8>) -> io::Result<()> {
    let (ends, mut asked) = mpsc::unbounded_channel();
    for number in SIGNALS {
        let mut signals = signal(SignalKind::from_raw(number.into()))?;
        let (whom, ends) = (whom.map(|(dir, app)| (PathBuf::from(dir), app)), ends.clone());
        let alone = given_up.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                let Some((dir, app)) = whom.clone() else {
                    alone.store(number, Ordering::Relaxed);
                    continue;
                };
                if ENDS.contains(&number) {
                    let _ = ends.send(number);
                }
                // Not waited for: the next one may be the last.
                tokio::spawn(async move {
                    let request = Request::Signal { app, signal: number };
                    if let Err(error) = control::ask(&dir, &request).await {
                        tracing::warn!("cannot pass signal {number} on: {error}");
                    }
                });
            }
        });
    }
    let given_up = given_up.clone();
    tokio::spawn(async move {
        let mut patience = Patience::default();
        loop {
            let last = patience.last();
            tokio::select! {
                Some(number) = asked.recv() => patience.asked(number, Instant::now()),
                number = last => return given_up.store(number, Ordering::Relaxed),
            }
        }
    });
    Ok(())
}
