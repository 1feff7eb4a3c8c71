use super::*;

fn fingerprint() -> Fingerprint {
    Fingerprint { cpu: Some("AMD EPYC".into()), cores: Some(2), program: "0.1.0".into(), ..Fingerprint::default() }
}

fn benchmark() -> Benchmark {
    let (version, measured_at_ms) = (BENCHMARK_VERSION, 1_700_000_000_000);
    Benchmark { version, integer: 2.0, float: 0.5, memory: 8.0, measured_at_ms, fingerprint: fingerprint() }
}

/// The kernels compute what they say: against figures that anybody can look up.
#[test]
fn the_parts_of_the_kernels_are_right() {
    assert_eq!(kernels::primes(100), 25);
    assert_eq!(kernels::primes(1 << 15), 3_512);
    assert_eq!(kernels::primes(10_000), 1_229);
}

#[test]
fn the_memory_kernel_goes_all_the_way_round_and_again() {
    let mut memory = Memory::new();
    for round in 0..80 {
        let Answer { got, expected } = memory.round();
        assert_eq!(got, expected, "round {round}");
    }
}

#[test]
fn this_machine_is_measured_within_its_bound() {
    let began = Instant::now();
    let benchmark = Benchmark::run(fingerprint(), 7).unwrap();
    // Other tests and other programs run beside this one: a generous multiple of the bound.
    assert!(began.elapsed() < KERNEL_TIME_MAX * 3 * 20, "{:?}", began.elapsed());
    for speed in [benchmark.integer, benchmark.float, benchmark.memory, benchmark.speed()] {
        assert!((0.001..=100.0).contains(&speed), "{benchmark:?}");
    }
    assert_eq!((benchmark.measured_at_ms, &benchmark.fingerprint), (7, &fingerprint()));
    assert_eq!(Benchmark::decode(&benchmark.encode()).unwrap(), benchmark);
}

#[test]
fn a_machine_that_computes_wrongly_is_found_out() {
    let mut round = 0;
    let error = rate(Kernel::Float, || {
        round += 1;
        Answer { got: if round == 3 { 41 } else { 42 }, expected: 42 }
    });
    let error = error.unwrap_err();
    assert!(matches!(error, BenchmarkError::Wrong { kernel: Kernel::Float, got: 41, expected: 42 }), "{error}");
}

#[test]
fn a_quicker_kernel_has_a_higher_rate() {
    let sleep = |ms| {
        move || {
            std::thread::sleep(Duration::from_millis(ms));
            Answer { got: 0, expected: 0 }
        }
    };
    let (quick, slow) = (rate(Kernel::Integer, sleep(2)).unwrap(), rate(Kernel::Integer, sleep(40)).unwrap());
    assert!(quick <= 500.0 && slow <= 25.0 && quick > slow, "{quick} {slow}");
}

#[test]
fn the_one_figure_is_the_geometric_mean() {
    assert_eq!(benchmark().speed(), 2.0);
}

#[test]
fn what_is_stored_is_read_again_and_nothing_else() {
    let good = benchmark();
    assert_eq!(Benchmark::decode(&good.encode()).unwrap(), good);
    let change = |from: &str, to: &str| {
        let text = good.encode();
        assert!(text.contains(from), "{text}");
        Benchmark::decode(&text.replace(from, to)).unwrap_err()
    };
    assert!(matches!(change("\"version\": 1", "\"version\": 2"), BenchmarkError::Version { got: 2 }));
    assert!(matches!(change("\"float\": 0.5", "\"float\": 0.0"), BenchmarkError::Range { .. }));
    assert!(matches!(change("\"float\": 0.5", "\"float\": -3.5"), BenchmarkError::Range { .. }));
    assert!(matches!(change("\"float\": 0.5", "\"float\": 1e9"), BenchmarkError::Range { .. }));
    assert!(matches!(change("\"float\": 0.5", "\"float\": null"), BenchmarkError::Malformed(_)));
    assert!(matches!(change("\"float\": 0.5", "\"float\": 0.5, \"x\": 1"), BenchmarkError::Malformed(_)));
    for text in ["", "{}", "[", "null", "\u{0}"] {
        assert!(matches!(Benchmark::decode(text), Err(BenchmarkError::Malformed(_))), "{text}");
    }
    let long = " ".repeat(ENCODED_BYTES_MAX + 1);
    assert!(matches!(Benchmark::decode(&long), Err(BenchmarkError::TooLong { got: 4_097 })));
}
