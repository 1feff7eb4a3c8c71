//! What must hold of net flows, whatever the machines.

use proptest::prelude::*;

use super::*;

fn preference() -> impl Strategy<Value = Preference> {
    let threshold = 1..200_000_i32;
    prop_oneof![
        Just(Preference::Usual),
        threshold.clone().prop_map(|full| Preference::Linear { full }),
        (threshold.clone(), threshold.clone()).prop_map(|(slight, full)| Preference::Level { slight, full }),
        threshold.prop_map(|sigma| Preference::Gaussian { sigma }),
    ]
}

fn machines() -> impl Strategy<Value = Vec<Values>> {
    // Narrow ranges make ties.
    let value = prop_oneof![-5..5_i32, -300_000..300_000_i32, -(1 << 22)..(1 << 22)];
    proptest::collection::vec(proptest::array::uniform5(value).prop_map(Values), 1..40)
}

fn favor() -> impl Strategy<Value = Favor> {
    proptest::array::uniform5(0..20_u32).prop_filter_map("one weight", |weights| Favor::new(weights).ok())
}

/// phi by its definition: the mean over all others.
fn naive(values: &[Values], favor: &Favor, preferences: &Preferences) -> Vec<f64> {
    let total = Criterion::ALL.iter().map(|criterion| f64::from(favor.weight(*criterion))).sum::<f64>();
    let between = |a: &Values, b: &Values| {
        let part = |criterion: &Criterion| {
            let (place, weight) = (criterion.place(), f64::from(favor.weight(*criterion)));
            let preference = preferences[place];
            weight / total * f64::from(preference.net(a.0[place] - b.0[place])) / f64::from(preference.unit())
        };
        Criterion::ALL.iter().map(part).sum::<f64>()
    };
    let others = (values.len().max(2) - 1) as f64;
    values.iter().map(|a| values.iter().map(|b| between(a, b)).sum::<f64>() / others).collect()
}

proptest! {
    #[test]
    fn flows_are_those_of_the_definition(
        values in machines(), favor in favor(), preferences in proptest::array::uniform5(preference())
    ) {
        let flows = net_flows(&values, &favor, &preferences);
        for (flow, naive) in flows.iter().zip(naive(&values, &favor, &preferences)) {
            prop_assert!((flow - naive).abs() < 1e-9, "{flow} and {naive}");
        }
    }

    #[test]
    fn flows_are_bounded_and_sum_to_nothing(
        values in machines(), favor in favor(), preferences in proptest::array::uniform5(preference())
    ) {
        let flows = net_flows(&values, &favor, &preferences);
        prop_assert!(flows.iter().all(|flow| flow.abs() <= 1.0 + 1e-12));
        prop_assert!(flows.iter().sum::<f64>().abs() < 1e-9);
    }

    #[test]
    fn only_proportions_of_weights_matter(
        values in machines(), favor in favor(), preferences in proptest::array::uniform5(preference()), factor in 1..50_u32
    ) {
        let scaled = Favor::new(Criterion::ALL.map(|criterion| favor.weight(criterion) * factor)).unwrap();
        let bits = |favor: &Favor| net_flows(&values, favor, &preferences).into_iter().map(f64::to_bits).collect::<Vec<_>>();
        prop_assert_eq!(bits(&favor), bits(&scaled));
    }

    #[test]
    fn one_usual_criterion_sorts(values in machines(), place in 0..CRITERIA) {
        let favor = Favor::only(Criterion::ALL[place]);
        let order = order(&values, &favor, &[Preference::Usual; CRITERIA]);
        let mut sorted = (0..values.len()).collect::<Vec<_>>();
        // Stable: of equals the earlier first.
        sorted.sort_by_key(|at| -values[*at].0[place]);
        prop_assert_eq!(order, sorted);
    }

    #[test]
    fn a_machine_that_is_better_in_everything_comes_first(
        values in machines(), favor in favor(), preferences in proptest::array::uniform5(preference())
    ) {
        let best = Values(std::array::from_fn(|place| 1 + values.iter().map(|values| values.0[place]).max().unwrap()));
        let mut values = values;
        values.push(best);
        let flows = net_flows(&values, &favor, &preferences);
        let last = flows[flows.len() - 1];
        prop_assert!(flows.iter().all(|flow| *flow <= last + 1e-12));
    }

    #[test]
    fn preferences_are_odd_and_grow(preference in preference(), a in -400_000..400_000_i32, b in 0..400_000_i32) {
        prop_assert_eq!(preference.net(a), -preference.net(-a));
        prop_assert!(preference.net(a) <= preference.net(a + b));
        prop_assert!(preference.net(a).abs() <= preference.unit());
    }
}

#[test]
fn preferences_by_hand() {
    let cases = [
        (Preference::Usual, [(0, 0), (1, 1), (-7, -1)].as_slice()),
        (Preference::Linear { full: 100 }, &[(0, 0), (25, 25), (100, 100), (101, 100), (-250, -100)]),
        (Preference::Level { slight: 10, full: 20 }, &[(10, 0), (11, 1), (20, 1), (21, 2), (-11, -1), (-21, -2)]),
        // 1 - exp(-1/2) = 0.3934693, of 65,536.
        (Preference::Gaussian { sigma: 50 }, &[(0, 0), (50, 25_786), (-50, -25_786), (1_000, 65_536)]),
    ];
    for (preference, table) in cases {
        for (difference, net) in table {
            assert_eq!(preference.net(*difference), *net, "{preference:?} of {difference}");
        }
    }
}

#[test]
fn favors_are_read_and_written() {
    let favor: Favor = "cost=3,speed=1,trust=2,energy=1".parse().unwrap();
    assert_eq!(Criterion::ALL.map(|criterion| favor.weight(criterion)), [3, 1, 2, 0, 1]);
    assert_eq!(favor.to_string(), "cost=3,speed=1,trust=2,energy=1");
    assert_eq!(" Speed = 10 , ".parse::<Favor>().unwrap().to_string(), "speed=10");
    assert_eq!(Favor::default().to_string().parse::<Favor>().unwrap(), Favor::default());
    let cases = [
        ("", "nothing is favoured: one weight at least must be above 0, for example `cost=3,speed=1`"),
        ("cost=0", "nothing is favoured: one weight at least must be above 0, for example `cost=3,speed=1`"),
        ("cost", "`cost` has no weight: write for example `cost=3,speed=1`"),
        ("price=3", "`price` is not a criterion: there are cost, speed, trust, reliability and energy"),
        ("cost=-1", "`-1` is not a weight of cost: write a whole number from 0 to 1000"),
        ("cost=+1", "`+1` is not a weight of cost: write a whole number from 0 to 1000"),
        ("cost=1001", "`1001` is not a weight of cost: write a whole number from 0 to 1000"),
        ("cost=", "`` is not a weight of cost: write a whole number from 0 to 1000"),
        ("cost=0.5", "`0.5` is not a weight of cost: write a whole number from 0 to 1000"),
        ("cost=1,COST=2", "cost has two weights: name it once"),
    ];
    for (text, error) in cases {
        assert_eq!(text.parse::<Favor>().unwrap_err().to_string(), error, "{text}");
    }
}

#[test]
fn what_is_expected_of_a_run() {
    let app = gristmill_types::ContentId([1; 32]);
    let data = gristmill_types::ContentId([2; 32]);
    let work = Work {
        operations: 30_000_000_000,
        is_known: false,
        inputs: vec![(app, 5_000_000), (data, 20_000_000)],
        upload_bytes: 1_000_000,
    };
    let facts = Facts {
        operations_per_second: 3_000_000_000,
        fetch_bytes_per_second: 5_000_000,
        upload_bytes_per_second: 500_000,
        price_per_hour: gristmill_types::Amount::from_ngrist(3_600),
        watts: 60.0,
        tasks_started: 9,
        tasks_completed: 4,
        ..Facts::default()
    };
    let expected = Expected::of(&work, &facts);
    assert_eq!(expected.run_s, 5.0 + 10.0 + 2.0);
    assert_eq!(expected.completion_s, 17.0 * 2.0, "half of its runs come to a result");
    assert_eq!((expected.cost_ngrist, expected.energy_j), (17.0, 17.0 * 60.0));
    let with_data = Facts { cached: vec![data].into(), ..facts.clone() };
    assert_eq!(Expected::of(&work, &with_data).run_s, 1.0 + 10.0 + 2.0);
    // Twice the price is an octave.
    let dear = Facts { price_per_hour: gristmill_types::Amount::from_ngrist(7_200), ..facts.clone() };
    let difference = expected.values().0[0] - Expected::of(&work, &dear).values().0[0];
    assert_eq!(difference, criteria::OCTAVE);
    // Just switched on, for an hour: exp(-(1 / 2.964)^0.393); after ten hours up it is much likelier.
    let hour = Work { operations: 3_600 * 3_000_000_000, ..Work::default() };
    let stays = Expected::of(&hour, &facts).stays();
    assert!((stays - (-(1.0_f64 / 2.964).powf(0.393)).exp()).abs() < 1e-12, "{stays}");
    let settled = Facts { up_for_ms: 36_000_000, ..facts };
    assert!(Expected::of(&hour, &settled).stays() > 0.9);
}

#[test]
fn the_spread_is_that_of_the_middle() {
    // 0 to 99,000 in one criterion, and one machine far off; all alike in the others, or nearly.
    let mut machines = (0..100).map(|value| Values([1_000 * value, 7, value, 7, 7])).collect::<Vec<_>>();
    machines[0].0[0] = -1_000_000;
    let preferences = criteria::preferences(&machines);
    assert_eq!(preferences[0], Preference::Linear { full: 89_000 });
    let alike = Preference::Linear { full: criteria::OCTAVE / 8 };
    assert_eq!([preferences[1], preferences[2]], [alike; 2]);
    assert_eq!(criteria::preferences(&[])[0], alike);
}
