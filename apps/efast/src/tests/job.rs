//! The whole job: files out, files in, and what comes out at the end.

use super::json::{self, Json};
use super::{real_prices, Folder};
use crate::args::Settings;
use crate::outcome::Outcome;
use crate::window::{study, Study};
use crate::{reduce, report};
use std::fs;
use std::path::Path;

const TASKS: u64 = 12;
const SAMPLES: u64 = 25;

fn studies() -> Vec<Study> {
    let prices = real_prices();
    let settings = Settings { samples: SAMPLES, ..Settings::default() };
    (0..TASKS).map(|task| study(&prices, &settings, task, TASKS).expect("a window")).collect()
}

fn write_all(studies: &[Study], dir: &Path) {
    studies.iter().for_each(|study| study.write(&dir.join(format!("{:06}", study.task))).expect("written"));
}

#[test]
fn a_task_reads_back_as_it_was() {
    let folder = Folder::new("read-back");
    let study = study(&real_prices(), &Settings { samples: 9, ..Settings::default() }, 4, TASKS).expect("a window");
    study.write(folder.path()).expect("written");
    let outcome = Outcome::read(folder.path()).expect("read");
    assert_eq!(outcome.settings, study.settings);
    assert_eq!((outcome.task, outcome.tasks), (4, TASKS));
    assert_eq!((&outcome.first_day, &outcome.last_day), (&study.first_day, &study.last_day));
    assert_eq!((&outcome.together, &outcome.alone), (&study.together, &study.alone));
    assert_eq!(outcome.prices_crc, format!("{:08x}", study.prices_crc));
}

#[test]
fn the_clusters_are_the_sectors() {
    let folder = Folder::new("clusters");
    write_all(&studies(), folder.path());
    let out = folder.path().join("reduce");
    reduce::run(folder.path(), &out).expect("reduced");
    let mut names: Vec<String> = fs::read_dir(&out)
        .expect("listed")
        .map(|entry| entry.expect("entry").file_name().into_string().expect("name"))
        .collect();
    names.sort();
    let expected = [
        "clusters.json",
        "heatmap.png",
        "heatmap.svg",
        "stability.csv",
        "summary.txt",
        "years.csv",
        "years.png",
        "years.svg",
    ];
    assert_eq!(names, expected);
    let result = json::parse(&fs::read_to_string(out.join("clusters.json")).expect("read"));
    assert_eq!(result.get("samples").number(), (TASKS * SAMPLES) as f64);
    assert_eq!(result.get("missing").list(), []);
    assert_eq!(result.get("windows").list().len(), TASKS as usize);
    let clusters = result.get("clusters").list();
    let stocks =
        |cluster: &Json| cluster.get("stocks").list().iter().map(|stock| stock.text().to_string()).collect::<Vec<_>>();
    let groups = [
        ("CVX XOM RRC", 0.7),
        ("JNJ LLY MRK PFE", 0.9),
        ("BAC JPM", 0.75),
        ("KO PEP PG", 0.85),
        ("AAPL AMD MSFT", 0.6),
        ("BBY HD WMT", 0.4),
    ];
    for (group, least) in groups {
        let mut group: Vec<&str> = group.split(' ').collect();
        let cluster =
            clusters.iter().find(|cluster| stocks(cluster).contains(&group[0].to_string())).expect("somewhere");
        group.retain(|stock| !stocks(cluster).contains(&stock.to_string()));
        assert!(group.is_empty(), "{group:?} is not in {:?}", stocks(cluster));
        assert!(cluster.get("stability").number() > least, "{cluster:?}");
    }
}

#[test]
fn a_lost_window_is_told_and_the_rest_goes_on() {
    let folder = Folder::new("lost");
    write_all(&studies(), folder.path());
    fs::remove_file(folder.path().join("000002/counts.csv")).expect("removed");
    fs::remove_dir_all(folder.path().join("000007")).expect("removed");
    fs::write(folder.path().join("000009/window.csv"), "key,value\napplication,other\nformat,1\n").expect("written");
    fs::write(folder.path().join("stray.txt"), "not a task").expect("written");
    let out = folder.path().join("reduce");
    reduce::run(folder.path(), &out).expect("reduced");
    let result = json::parse(&fs::read_to_string(out.join("clusters.json")).expect("read"));
    let missing: Vec<f64> = result.get("missing").list().iter().map(|entry| entry.get("task").number()).collect();
    assert_eq!(missing, [2.0, 7.0, 9.0]);
    let summary = fs::read_to_string(out.join("summary.txt")).expect("read");
    assert!(summary.contains("9 windows") && summary.contains("Window 7 is missing: no folder."), "{summary}");
}

#[test]
fn results_that_do_not_belong_together_are_refused() {
    type Change = fn(&mut Study);
    let cases: [(Change, &str); 4] = [
        (|study| study.prices_crc = 1, "other options or other prices"),
        (|study| study.settings.seed = 1, "other options or other prices"),
        (|study| study.tasks = 13, "other options or other prices"),
        (|study| study.task = 3, "folder 000005 holds the result of task 3"),
    ];
    let all = studies();
    for (number, (change, message)) in cases.iter().enumerate() {
        let folder = Folder::new(&format!("contradiction-{number}"));
        write_all(&all, folder.path());
        let mut changed = all[5].clone();
        change(&mut changed);
        changed.write(&folder.path().join("000005")).expect("written");
        let failure = reduce::run(folder.path(), &folder.path().join("reduce")).expect_err(message);
        assert!(failure.to_string().contains(message), "{failure}");
    }
    let empty = Folder::new("empty");
    let failure = reduce::run(empty.path(), empty.path()).expect_err("nothing there");
    assert!(failure.to_string().contains("none of the 0 task folders"), "{failure}");
}

#[test]
fn damaged_result_files_are_refused() {
    let cases = [
        ("counts.csv", "together,A\nA,1\n"),
        ("counts.csv", "together,A,B\nA,9,3\nB,4,9\n"),
        ("counts.csv", "together,A,B\nA,9,x\nB,x,9\n"),
        ("counts.csv", "together,A,B\nA,9\n"),
        ("counts.csv", ""),
        ("members.csv", "ticker,cluster,alone,volatility\nA,1,0,0.1\n"),
        ("window.csv", "key,value\napplication,efast\nformat,2\n"),
        ("window.csv", "key,value\napplication,efast\nformat,1\n"),
    ];
    let study = study(&real_prices(), &Settings { samples: 9, ..Settings::default() }, 0, TASKS).expect("a window");
    for (name, text) in cases {
        let folder = Folder::new("damaged");
        study.write(folder.path()).expect("written");
        fs::write(folder.path().join(name), text).expect("written");
        assert!(Outcome::read(folder.path()).is_err(), "{name}: {text:?}");
    }
}

#[test]
fn one_window_and_many_windows_make_pictures_too() {
    let prices = real_prices();
    for tasks in [1u64, 2, 20] {
        let folder = Folder::new(&format!("tasks-{tasks}"));
        let settings = Settings { samples: 2, window_days: 120, clusters: 20, ..Settings::default() };
        for task in 0..tasks {
            let study = study(&prices, &settings, task, tasks).expect("a window");
            study.write(&folder.path().join(format!("{task:06}"))).expect("written");
        }
        reduce::run(folder.path(), &folder.path().join("reduce")).expect("reduced");
        assert!(fs::metadata(folder.path().join("reduce/years.png")).expect("there").len() > 10_000);
    }
}

#[test]
fn names_and_numbers_read_well() {
    assert_eq!(
        (report::cluster_name(0), report::cluster_name(25), report::cluster_name(26)),
        ("A".into(), "Z".into(), "A2".into())
    );
    let numbers = [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")];
    numbers.iter().for_each(|&(number, text)| assert_eq!(report::thousands(number), text));
    assert_eq!((report::percent(0.995), report::percent(0.004)), ("100".to_string(), "0".to_string()));
}
