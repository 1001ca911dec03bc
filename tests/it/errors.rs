use std::backtrace::{Backtrace, BacktraceStatus};
use std::error::Error;
use std::panic::resume_unwind;
use std::{io, thread};

use brigade::scope::{KeepGoing, Scope};
use brigade::{CancelReason, CancellationToken, Cancelled, Failure, Panic, Pipeline, ScopeBuilder, scope, try_par_map};

use crate::util::{alone, message_of, payload_of, watched};

/// An enum of a user's own.
#[derive(Debug, thiserror::Error)]
enum Mine {
    #[error("it broke")]
    Broke,
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// Runs every fallible form with `E`: one that fails with `broke()`, and one whose token is cancelled.
fn flows<E>(broke: impl Fn() -> E + Sync) -> Vec<(E, E)>
where
    E: From<Cancelled> + Send,
{
    let live = CancellationToken::new();
    let cancelled = CancellationToken::new();
    cancelled.cancel_with(CancelReason::Signal(2));
    let fails = |_: i32| Err::<(), E>(broke());
    let both = |run: &dyn Fn(&CancellationToken) -> Result<(), E>| {
        (run(&live).expect_err("it fails"), run(&cancelled).expect_err("it is cancelled"))
    };
    vec![
        both(&|token| Pipeline::from_iter(0..9).try_map(fails).for_each(token, drop)),
        both(&|token| Pipeline::from_iter(0..9).try_for_each(token, fails)),
        both(&|token| Pipeline::from_data(0..9).threads(1).try_map(fails).collect(token)),
        both(&|token| try_par_map(token, 0..9, fails).map(drop)),
        both(&|token| {
            scope(token, |s| {
                s.spawn(|_| fails(0))?;
                Ok(())
            })
        }),
    ]
}

#[test]
fn anyhow_flows_through_unchanged() {
    for (broke, cancelled) in flows(|| anyhow::Error::new(Mine::Broke)) {
        assert!(matches!(broke.downcast_ref(), Some(Mine::Broke)));
        assert_eq!(cancelled.downcast_ref::<Cancelled>().unwrap().reason(), CancelReason::Signal(2));
    }
}

#[test]
fn a_boxed_error_flows_through_unchanged() {
    for (broke, cancelled) in flows::<Box<dyn Error + Send + Sync>>(|| Box::new(Mine::Broke)) {
        assert!(matches!(broke.downcast_ref(), Some(Mine::Broke)));
        assert_eq!(cancelled.downcast_ref::<Cancelled>().unwrap().reason(), CancelReason::Signal(2));
    }
}

#[test]
fn an_io_error_flows_through_unchanged() {
    for (broke, cancelled) in flows(|| io::Error::from(io::ErrorKind::NotFound)) {
        assert_eq!(broke.kind(), io::ErrorKind::NotFound);
        // Not `Interrupted`, which `read_exact` and its like would retry for ever.
        assert_eq!(cancelled.kind(), io::ErrorKind::Other);
        let inner = cancelled.get_ref().and_then(|error| error.downcast_ref::<Cancelled>());
        assert_eq!(inner.unwrap().reason(), CancelReason::Signal(2));
    }
}

#[test]
fn a_deadline_is_a_time_out_as_an_io_error() {
    let kind = |reason| io::Error::from(Cancelled::new(reason)).kind();
    assert_eq!(kind(CancelReason::Deadline), io::ErrorKind::TimedOut);
    for reason in [CancelReason::Requested, CancelReason::Failed, CancelReason::Finished, CancelReason::Signal(14)] {
        assert_eq!(kind(reason), io::ErrorKind::Other);
    }
}

#[test]
fn an_enum_of_ones_own_flows_through_unchanged() {
    for (broke, cancelled) in flows(|| Mine::Broke) {
        assert!(matches!(broke, Mine::Broke));
        assert!(matches!(cancelled, Mine::Cancelled(cancelled) if cancelled.reason() == CancelReason::Signal(2)));
    }
}

#[test]
fn reasons_read_well() {
    let reasons = [
        (CancelReason::Requested, "cancelled: requested"),
        (CancelReason::Deadline, "cancelled: the deadline passed"),
        (CancelReason::Failed, "cancelled: a sibling failed"),
        (CancelReason::Panicked, "cancelled: a sibling panicked"),
        (CancelReason::Finished, "cancelled: the scope has finished"),
        (CancelReason::Signal(15), "cancelled: signal 15"),
        (CancelReason::Dropped, "cancelled: its guard was dropped"),
        (CancelReason::Other("quota"), "cancelled: quota"),
    ];
    for (reason, shown) in reasons {
        assert_eq!(Cancelled::new(reason).to_string(), shown);
    }
}

#[test]
fn a_failure_shows_the_chain_of_causes_in_the_alternate_form() {
    let failures = ScopeBuilder::new()
        .collect_all(&CancellationToken::new(), |s| {
            s.spawn(|_| Err::<(), _>(anyhow::Error::new(Mine::Broke).context("while reading")))?;
            s.spawn(|_| -> anyhow::Result<()> { panic!("oh") })?;
            Ok(())
        })
        .unwrap_err();
    let plain: Vec<String> = failures.iter().map(ToString::to_string).collect();
    assert_eq!(plain, ["task#0 failed: while reading", "task#1 panicked: oh"]);
    let whole: Vec<String> = failures.iter().map(|failure| format!("{failure:#}")).collect();
    assert_eq!(whole, ["task#0 failed: while reading: it broke", "task#1 panicked: oh"]);
}

#[test]
fn a_failure_gives_its_error_or_its_panic_by_value() {
    let failures = || {
        ScopeBuilder::new()
            .collect_all(&CancellationToken::new(), |s| {
                s.spawn(|_| Err::<(), _>(Mine::Broke))?;
                s.spawn(|_| -> Result<(), Mine> { panic!("oh") })?;
                Ok(())
            })
            .unwrap_err()
    };
    let errors: Vec<_> = failures().into_iter().map(Failure::into_error).collect();
    assert!(matches!(errors[..], [Some(Mine::Broke), None]), "{errors:?}");
    let [none, Some(panic)] =
        <[_; 2]>::try_from(failures().into_iter().map(Failure::into_panic).collect::<Vec<_>>()).expect("two failures")
    else {
        panic!("the second is a panic")
    };
    assert!(none.is_none());
    assert_eq!(message_of(|| panic.resume()), "oh");
}

#[test]
fn a_failure_goes_into_anyhow_and_keeps_name_index_and_payload() {
    let run = || {
        ScopeBuilder::new()
            .collect_all(&CancellationToken::new(), |s| {
                s.named("count").spawn(|_| -> Result<(), Mine> { std::panic::panic_any(7_u8) })?;
                Ok::<_, Mine>(())
            })
            .unwrap_err()
            .into_iter()
            .next()
            .unwrap()
    };
    assert_eq!(anyhow::Error::new(run()).to_string(), "count#0 panicked: (the payload is not a string)");
    let panic = match run() {
        Failure::Panic(panic) => panic,
        other => panic!("a panic, not {other}"),
    };
    assert_eq!(
        format!("{panic:?}"),
        "Panic { name: \"count\", index: 0, message: \"(the payload is not a string)\", location: None, .. }"
    );
    assert_eq!(panic.into_payload().downcast_ref(), Some(&7_u8));
    let Err(failures) =
        ScopeBuilder::new().collect_all(&CancellationToken::new(), |_| -> Result<(), Mine> { panic!("{}", "text") })
    else {
        unreachable!("it panicked")
    };
    let Failure::Panic(panic) = failures.into_iter().next().unwrap() else { panic!("a panic") };
    assert_eq!(message_of(|| panic.resume()), "text");
}

fn panics_of(body: impl Fn(&Scope<'_, '_, Cancelled, KeepGoing>) -> Result<(), Cancelled>) -> Vec<Panic> {
    let failures = ScopeBuilder::new().collect_all(&CancellationToken::new(), |s| body(s)).unwrap_err();
    failures.into_iter().filter_map(Failure::into_panic).collect()
}

/// A pipeline's worker panics, on another thread than the task that runs it, unless that is quicker.
fn panics_within(_: &Scope<'_, '_, Cancelled, KeepGoing>) -> Result<(), Cancelled> {
    let here = thread::current().id();
    let bad = |_: i32| if thread::current().id() == here { thread::yield_now() } else { panic!("within") };
    loop {
        Pipeline::from_data(0..1_000).map(bad).threads(2).for_each(&CancellationToken::new(), drop)?;
    }
}

#[test]
fn a_panic_as_a_value_has_its_place_and_backtrace_where_they_are_enabled() {
    if !alone!(a_panic_as_a_value_has_its_place_and_backtrace_where_they_are_enabled) {
        return;
    }
    watched(|| {
        let bug_at = line!() + 1;
        let bug = |_: &Scope<'_, '_, Cancelled, KeepGoing>| -> Result<(), Cancelled> { panic!("a bug") };
        let unknown = panics_of(|s| s.spawn(bug).map(drop));
        assert_eq!((unknown[0].location(), unknown[0].backtrace().is_none()), (None, true));

        Panic::install_hook();
        Panic::install_hook();
        let panics = panics_of(|s| {
            s.spawn(bug)?;
            s.spawn(panics_within)?;
            // One that the user has caught, and then another without a place.
            s.spawn(|_| -> Result<(), _> {
                let _ = payload_of(|| panic!("caught"));
                resume_unwind(Box::new("resumed"))
            })?;
            s.spawn(|_| -> Result<(), _> { std::panic::panic_any(5) })?;
            Ok(())
        });
        let place = |line: u32| Some(format!("{}:{line}:", file!()));
        let at = |panic: &Panic| panic.location().map(|at| at[..=at.rfind(':').unwrap()].to_owned());
        assert_eq!(at(&panics[0]), place(bug_at));
        assert!(at(&panics[1]).is_some_and(|at| at.starts_with(file!())), "{:?}", panics[1]);
        assert_eq!((panics[2].message(), panics[2].location()), ("resumed", None));
        assert!(at(&panics[3]).is_some());
        for panic in [&panics[0], &panics[1]] {
            // `RUST_BACKTRACE` is set, or not, by the person that runs the tests.
            let enabled = Backtrace::capture().status() == BacktraceStatus::Captured;
            assert_eq!(panic.backtrace().is_some(), enabled);
            let named = |trace: &Backtrace| trace.to_string().contains("panicking");
            assert!(panic.backtrace().is_none_or(named), "{:?}", panic.backtrace());
        }
        assert!(format!("{:?}", panics[0]).contains("errors.rs"));
    });
}
