//! The scheduling priority of the worker threads.

/// Gives the calling thread this nice value (-20 to 19, lower goes first; 0 leaves it alone). Sound that waits for a
/// neighbour's computation is disturbed; a worker that is raised goes first, and a nice value, unlike a real-time
/// class, still leaves the machine usable should a worker run wild. Where the system does not allow it (it takes
/// CAP_SYS_NICE or a limit on nice), nothing changes.
pub(crate) fn renice(nice: i32) {
    if nice == 0 {
        return;
    }
    // To Linux a nice value is a thread's, and no pid means the calling one: setpriority(2).
    if let Err(error) = rustix::process::setpriority_process(None, nice) {
        tracing::debug!(nice, %error, "a media worker keeps the ordinary priority");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_this_thread() -> i32 {
        rustix::process::getpriority_process(None).expect("every thread has a priority")
    }

    #[test]
    fn a_nice_value_is_that_of_one_thread_only() {
        let before = of_this_thread();
        // Down is always allowed.
        let other = std::thread::spawn(move || {
            renice(before + 3);
            of_this_thread()
        });
        assert_eq!(other.join().expect("it only reads"), before + 3);
        assert_eq!(of_this_thread(), before);
    }

    #[test]
    fn what_the_system_does_not_allow_changes_nothing() {
        let before = of_this_thread();
        let other = std::thread::spawn(|| {
            renice(-1);
            of_this_thread()
        });
        let after = other.join().expect("it only reads");
        assert!(after == -1 || after == before, "{after}");
    }
}
