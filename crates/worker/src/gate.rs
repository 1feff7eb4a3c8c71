//! Hold the worker's own work on a task still while the task is frozen.
//!
//! The sandbox freezes its child. What the worker does itself for a task (laying out inputs, hashing, packing, sealing) waits here.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use gristmill_sandbox::{Control, Wish};
use tokio::sync::Notify;

/// Waits while the task is to hold still. Cancel safe.
pub(crate) async fn thawed(control: &Control) {
    if control.wish() != Wish::Freeze {
        return;
    }
    let notify = Arc::new(Notify::new());
    let wake = Arc::clone(&notify);
    let _listening = control.listen(move || wake.notify_one());
    while control.wish() == Wish::Freeze {
        notify.notified().await;
    }
}

/// The same for a thread.
pub(crate) fn wait_thawed(control: &Control) {
    if control.wish() != Wish::Freeze {
        return;
    }
    let (sender, woken) = sync_channel(1);
    // A full channel is no loss: the wish is looked at after each waking.
    let _listening = control.listen(move || {
        let _ = sender.try_send(());
    });
    while control.wish() == Wish::Freeze {
        // The sender lives as long as the registration does.
        let _ = woken.recv();
    }
}

/// Reads only while the task may go on.
pub(crate) struct Gated<'a, R> {
    inner: R,
    control: &'a Control,
}

impl<'a, R> Gated<'a, R> {
    pub(crate) fn new(inner: R, control: &'a Control) -> Self {
        Self { inner, control }
    }
}

impl<R: Read> Read for Gated<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        wait_thawed(self.control);
        self.inner.read(buffer)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_frozen_task_waits_and_a_thawed_or_cancelled_one_goes_on() {
        for end in [Control::thaw as fn(&Control), Control::cancel] {
            let control = Control::new();
            thawed(&control).await;
            control.freeze();
            let mut waiting = Box::pin(thawed(&control));
            assert!(tokio::time::timeout(Duration::from_millis(50), &mut waiting).await.is_err());
            let (reader, (sender, read)) = (control.clone(), std::sync::mpsc::channel());
            std::thread::spawn(move || {
                let mut bytes = Vec::new();
                Gated::new(&b"abc"[..], &reader).read_to_end(&mut bytes).unwrap();
                sender.send(bytes).unwrap();
            });
            assert!(read.recv_timeout(Duration::from_millis(50)).is_err());
            end(&control);
            waiting.await;
            assert_eq!(read.recv_timeout(Duration::from_secs(10)).unwrap(), b"abc");
        }
    }
}
