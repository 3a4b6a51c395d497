//! Waiting for another process.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Asks until the answer is good; after `patience`, the error is the last answer's.
pub(super) fn until(patience: Duration, mut ask: impl FnMut() -> Result<()>) -> Result<()> {
    let began = Instant::now();
    loop {
        match ask() {
            Ok(()) => return Ok(()),
            Err(error) if began.elapsed() >= patience => {
                return Err(error).with_context(|| format!("waited {patience:?} in vain"));
            }
            Err(_) => pause(),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "no runtime here: nothing else wants this thread")]
fn pause() {
    thread::sleep(Duration::from_millis(100));
}

#[cfg(test)]
mod tests {
    use anyhow::{bail, ensure};

    use super::*;

    #[test]
    fn the_first_good_answer_ends_it_and_the_last_bad_one_explains() {
        let mut asked = 0;
        let third = until(Duration::from_mins(1), || {
            asked += 1;
            ensure!(asked == 3, "not yet");
            Ok(())
        });
        assert!(third.is_ok());
        assert_eq!(asked, 3);
        let never = until(Duration::ZERO, || bail!("never")).expect_err("no good answer");
        assert_eq!(format!("{never:#}"), "waited 0ns in vain: never");
    }
}
