//! Print what this machine is: its ad with the benchmark, and what is measured below it.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use gristmill_machine::{Benchmark, Extras, Machine, Places, REFERENCE, Told, Watts, rates};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let places = Places::of_this_machine(std::env::current_dir()?);
    let began = Instant::now();
    let machine = Machine::look(&places, &Told::default());
    println!("looked in {:.1} ms", began.elapsed().as_secs_f64() * 1e3);

    let measurement = Watts::begin(&places);
    let began = Instant::now();
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as u64;
    let benchmark = Benchmark::run(machine.fingerprint(), now_ms)?;
    println!("benchmark in {:.0} ms", began.elapsed().as_secs_f64() * 1e3);
    let watts_measured = match measurement.and_then(Watts::end) {
        Ok(watts) => Some(watts),
        Err(error) => {
            println!("watts: {error}");
            None
        }
    };

    let rates = rates()?;
    for ((kernel, reference), rate) in REFERENCE.into_iter().zip(rates) {
        println!("{kernel:?}: {rate:.0} rounds/s, {:.2} of the reference machine's", rate / reference);
    }
    println!("{}", benchmark.encode());
    let extras = Extras { benchmark: Some(benchmark), watts_measured, ..Extras::default() };
    let ad = machine.ad(&extras)?;
    for (name, value) in ad.iter() {
        println!("{name} = {value}");
    }
    println!("{} bytes", ad.to_string().len());
    Ok(())
}
