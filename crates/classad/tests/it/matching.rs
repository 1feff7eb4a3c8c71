//! Matches, ranks, and requirements taken apart.

use gristmill_classad::{
    AbsTime, BinaryOperator, ClassAd, Evaluation, Expr, Prepared, Scope, Symbols, Value, accepts, matches, rank,
};

fn ad(source: &str) -> ClassAd {
    ClassAd::parse(source).unwrap_or_else(|error| panic!("{source}: {error}"))
}

/// Whether two ads match, whichever way one asks.
fn check(left: &str, right: &str) -> bool {
    let (left, right) = (ad(left), ad(right));
    let found = matches(&left, &right);
    let mut symbols = Symbols::new();
    let ready = (Prepared::new(left.clone(), &mut symbols), Prepared::new(right.clone(), &mut symbols));
    let strangers =
        (Prepared::new(left.clone(), &mut Symbols::new()), Prepared::new(right.clone(), &mut Symbols::new()));
    assert_eq!(matches(&right, &left), found, "{left} {right}");
    assert_eq!(ready.0.matches(&ready.1), found, "{left} {right}");
    assert_eq!(ready.1.matches(&ready.0), found, "{left} {right}");
    assert_eq!(strangers.0.matches(&strangers.1), found, "{left} {right}");
    assert_eq!(ready.0.binding(&ready.1).is_none() && ready.0.requirements().is_some(), accepts(&left, &right));
    found
}

#[test]
fn both_must_agree() {
    let any = "[ Requirements = true ]";
    assert!(check(any, any));
    assert!(!check(any, "[ Requirements = false ]"));
    assert!(!check(any, "[ ]"));
    assert!(!check(any, "[ Requirements = undefined ]"));
    assert!(!check(any, "[ Requirements = error ]"));
    assert!(!check(any, "[ Requirements = \"true\" ]"));
    assert!(check(any, "[ Requirements = 1 ]"));
    assert!(check(any, "[ requirements = { true }[0] ]"));
}

#[test]
fn names_are_looked_for_in_the_own_ad_first() {
    let machine =
        "[ Memory = 4096; Owner = \"operator\"; Requirements = TARGET.Memory <= Memory && Owner == \"operator\" ]";
    assert!(check(machine, "[ Memory = 1024; Requirements = TARGET.Memory >= MY.Memory && Memory == 1024 ]"));
    assert!(!check(machine, "[ Memory = 8192; Requirements = true ]"));
    assert!(check(machine, "[ Memory = 1; Requirements = other.owner == \"OPERATOR\" ]"));
    // What an attribute of the other ad says about its target is about us.
    assert!(check("[ a = 1; Requirements = TARGET.sees == 1 ]", "[ sees = TARGET.a; Requirements = true ]"));
    // Names in nested ads are looked for in the ads around, not across.
    assert!(check(
        "[ n = [ x = outer; y = across ]; outer = 1; Requirements = n.x == 1 && n.y is undefined ]",
        "[ across = 2; Requirements = true ]"
    ));
    // So they are in nested ads of the other ad, wherever the list of them is used.
    let machine = "[ size = 2; gpus = { [ x = 1 ] }; Requirements = true ]";
    assert!(check("[ mine = 5; Requirements = gpus.mine[0] is undefined && gpus.size[0] == 2 ]", machine));
    assert!(check("[ mine = 5; Requirements = countMatches((mine == 5 && size == 2), gpus) == 1 ]", machine));
    // `MY` and `TARGET` can be hidden by attributes.
    assert!(check("[ target = [ x = 7 ]; Requirements = TARGET.x == 7 ]", "[ x = 1; Requirements = true ]"));
    assert!(check("[ my = [ x = 7 ]; x = 1; Requirements = MY.x == 7 ]", "[ Requirements = true ]"));
}

#[test]
fn ranks_are_numbers() {
    for (source, expected) in [
        ("[ Rank = TARGET.Cpus * 2 ]", 16.0),
        ("[ Rank = Cpus > 4 ]", 1.0),
        ("[ Rank = nothing ]", 0.0),
        ("[ Rank = \"high\" ]", 0.0),
        ("[ Rank = 0.0 / 0 ]", 0.0),
        ("[ Rank = { Cpus } ]", 0.0),
        ("[ ]", 0.0),
    ] {
        let (job, machine) = (ad(source), ad("[ Cpus = 8; Requirements = true ]"));
        assert_eq!(rank(&job, &machine), expected, "{source}");
        let mut symbols = Symbols::new();
        let ready = Prepared::new(machine, &mut symbols);
        assert_eq!(Prepared::new(job, &mut symbols).rank(&ready), expected, "{source}");
    }
}

#[test]
fn the_binding_conjunct_is_named() {
    let mut symbols = Symbols::new();
    let job =
        "[ RequestMemory = 4 * 1024; Requirements = Arch == \"x86_64\" && (Memory >= RequestMemory && Score > 20) ]";
    let job = Prepared::new(ad(job), &mut symbols);
    for (machine, binding) in [
        ("[ Arch = \"X86_64\"; Memory = 8192; Score = 21 ]", None),
        ("[ Arch = \"X86_64\"; Memory = 2048; Score = 1 ]", Some("Memory >= 4096")),
        ("[ Arch = \"X86_64\"; Memory = 4096 ]", Some("Score > 20")),
        ("[ Memory = 4096 ]", Some("Arch == \"x86_64\"")),
    ] {
        let machine = Prepared::new(ad(machine), &mut symbols);
        assert_eq!(job.binding(&machine).map(Expr::to_string), binding.map(str::to_owned));
        assert_eq!(job.accepts(&machine), binding.is_none());
    }
}

#[test]
fn requirements_are_taken_apart() {
    let own = ad("[ Need = 2 * 512; Kind = \"tdx\"; Open = TARGET.x ]");
    let requirements =
        "Memory >= Need && (TARGET.Tee == Kind && (MY.Open || 3 < Cpus)) && 8 > TARGET.Load && Open && true";
    let flat = Expr::parse(requirements).unwrap().flatten(&own);
    let shown: Vec<String> = flat.conjuncts().into_iter().map(Expr::to_string).collect();
    assert_eq!(shown, ["Memory >= 1024", "TARGET.Tee == \"tdx\"", "(MY.Open || 3 < Cpus)", "8 > TARGET.Load", "Open"]);
    let conjuncts = flat.conjuncts();
    let memory = conjuncts[0].as_comparison().unwrap();
    assert_eq!(
        (memory.scope, memory.name.as_str(), memory.operator),
        (Scope::Any, "Memory", BinaryOperator::GreaterOrEqual)
    );
    assert_eq!(*memory.constant, Value::Integer(1024));
    let load = conjuncts[3].as_comparison().unwrap();
    assert_eq!((load.scope, load.name.as_str(), load.operator), (Scope::Target, "Load", BinaryOperator::Less));
    assert_eq!(conjuncts[2].as_comparison(), None);
    let names = |names: std::collections::BTreeSet<gristmill_classad::Name>| -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    };
    let references = Expr::parse(requirements).unwrap().references();
    assert_eq!(names(references.any), ["Cpus", "Kind", "Memory", "Need", "Open"]);
    assert_eq!(names(references.my), ["Open"]);
    assert_eq!(names(references.target), ["Load", "Tee"]);
    assert_eq!(
        names(Expr::parse(requirements).unwrap().external_references(&own)),
        ["Cpus", "Load", "Memory", "Tee", "x"]
    );
    let both = Expr::all(vec![Expr::parse("a || b").unwrap(), Expr::parse("c").unwrap()]);
    assert_eq!(both.to_string(), "(a || b) && c");
    assert_eq!(Expr::all(vec![]).to_string(), "true");
}

#[test]
fn the_caller_gives_the_time() {
    let own = ad(
        "[ Since = time() - 100; Old = CurrentTime > 1000; Hour = getHours(absTime(time())); Local = formatTime() ]",
    );
    for name in ["Since", "Old", "Local"] {
        assert_eq!(own.evaluate(name), Value::Undefined, "{name}");
    }
    let at = |name: &str| {
        Evaluation::of(&own).at(AbsTime { seconds: 5_000, offset: 7_200 }).evaluate(own.get(name).unwrap())
    };
    assert_eq!(at("Since"), Value::Integer(4_900));
    assert_eq!(at("Old"), Value::Boolean(true));
    assert_eq!(at("Hour"), Value::Integer(3));
    assert_eq!(at("Local"), Value::string("Thu Jan  1 03:23:20 1970"));
    let random = Expr::parse("random(10)").unwrap();
    assert_eq!(Evaluation::bare().evaluate(&random), Value::Error);
}

/// Ads are matched by several threads at once.
#[test]
fn ads_go_from_thread_to_thread() {
    fn crosses<T: Send + Sync>(_: &T) {}
    let ad = ad("[ Requirements = regexp(\"^x\", TARGET.Name) ]");
    crosses(&ad);
    crosses(ad.get("Requirements").unwrap());
    crosses(&Value::Ad(std::sync::Arc::new(ad.clone())));
    crosses(&Prepared::new(ad, &mut Symbols::new()));
}
