use super::*;

fn lines(points: Vec<(f64, f64)>) -> String {
    Lines { title: "a < b".to_owned(), x: "hours", y: "hosts", series: vec![Series { name: "all", points }] }.svg()
}

/// Every element that is opened is closed, in order.
fn assert_closed(svg: &str) {
    let mut open = Vec::new();
    for element in svg.split('<').skip(1) {
        let (tag, _) = element.split_once('>').expect("a tag ends");
        let name = tag.trim_start_matches('/').split([' ', '/']).next().expect("a tag has a name");
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "{svg}");
        } else if !tag.ends_with('/') {
            open.push(name);
        }
    }
    assert_eq!(open, Vec::<&str>::new(), "{svg}");
}

#[test]
fn curves_have_axes_marks_and_a_legend() {
    let svg = lines(vec![(0.0, 0.0), (24.0, 9_500.0)]);
    assert_closed(&svg);
    for word in ["a &lt; b", ">hours<", ">hosts<", ">all<", ">10,000<", ">25<", "prefers-color-scheme:dark"] {
        assert!(svg.contains(word), "`{word}` is not in {svg}");
    }
    // The first point stands where the axes meet, the last at 24 of 25 and 9,500 of 10,000.
    assert!(svg.contains("points=\"78.0,366.0 713.5,79.1\""), "{svg}");
}

#[test]
fn nothing_to_draw_is_drawn() {
    let svg = lines(Vec::new());
    assert_closed(&svg);
    assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
}

#[test]
fn marks_are_round_and_cover_the_values() {
    for (values, marks) in [
        (vec![0.0, 6.0], vec!["0", "1", "2", "3", "4", "5", "6"]),
        (vec![0.3], vec!["0.00", "0.05", "0.10", "0.15", "0.20", "0.25", "0.30"]),
        (vec![-4.0, 4.0], vec!["-4", "-3", "-2", "-1", "0", "1", "2", "3", "4"]),
        (vec![900_000.0], vec!["0", "200,000", "400,000", "600,000", "800,000", "1,000,000"]),
    ] {
        let axis = Axis::new(values.iter().copied(), 0.0, 1.0);
        let labels = axis.marks().into_iter().map(|(_, label)| label).collect::<Vec<_>>();
        assert_eq!(labels, marks, "{values:?}");
    }
}

#[test]
fn bars_stand_on_the_axis() {
    let groups = vec![("honest".to_owned(), vec![10.0, 0.0]), ("lazy".to_owned(), vec![2.0, 5.0])];
    let svg = Bars { title: "money".to_owned(), y: "GRIST", names: vec!["gained", "lost"], groups }.svg();
    assert_closed(&svg);
    assert_eq!(svg.matches("<rect class=\"c0\"").count(), 3, "two bars and the legend");
    assert!(svg.contains("y=\"64.0\"") && svg.contains("height=\"302.0\""), "{svg}");
}
