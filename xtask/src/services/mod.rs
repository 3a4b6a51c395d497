//! The servers that the tests use, on loopback only: use what runs, else start, else install.

mod account;
mod ask;
mod daemon;
mod install;
mod kafka;
mod mariadb;
mod nats;
mod patience;
mod postgres;
mod programs;
mod rabbitmq;
mod redis;
mod sqs;

use std::fs::{self, File, Permissions};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Subcommand;

use self::daemon::Home;
use self::patience::until;

/// All of them. A new server is a file beside this one and a line here.
const SERVICES: [&dyn Service; 9] = [
    &postgres::OLDEST,
    &mariadb::MariaDb,
    &postgres::NEWEST,
    &redis::Redis,
    &nats::OLDEST,
    &nats::NEWEST,
    &rabbitmq::RabbitMq,
    &kafka::Kafka,
    &sqs::LocalStack,
];

/// User, password and database of every server.
const NAME: &str = "outbox";

#[derive(Debug, Subcommand)]
pub(crate) enum ServicesTask {
    /// Brings them up and waits until they answer.
    Up { names: Vec<String> },
    /// Stops those that were started from here; their data stays.
    Down { names: Vec<String> },
    /// Says what runs.
    Status { names: Vec<String> },
}

pub(crate) fn run(task: &ServicesTask) -> Result<()> {
    match task {
        ServicesTask::Up { names } if names.is_empty() => up_all().map(drop),
        ServicesTask::Up { names } => up(&chosen(names)?),
        ServicesTask::Down { names } => down(&chosen(names)?),
        ServicesTask::Status { names } => {
            status(&chosen(names)?);
            Ok(())
        }
    }
}

/// Brings all servers up; returns the environment variables by which the tests find them.
pub(crate) fn up_all() -> Result<Vec<(&'static str, String)>> {
    // First, as installing may replace what a server that runs already would load later.
    let mut variables = vec![(programs::VARIABLE, programs::ready()?)];
    up(&SERVICES)?;
    variables.extend(SERVICES.iter().map(|service| (service.variable(), service.url())));
    Ok(variables)
}

/// An error unless all of them are up.
pub(crate) fn all_answer() -> Result<()> {
    SERVICES.iter().try_for_each(|service| {
        until(Duration::from_secs(10), || service.ask())
            .with_context(|| format!("the server `{}` does not answer", service.name()))
    })
}

/// One server that tests need.
trait Service: Sync {
    /// What one calls it on the command line, and its directory.
    fn name(&self) -> &'static str;

    /// The port that it listens on, of 127.0.0.1.
    fn port(&self) -> u16;

    /// The environment variable that hands [`Service::url`] to the tests.
    fn variable(&self) -> &'static str;

    /// How tests connect.
    fn url(&self) -> String;

    /// Asks whatever listens on the port whether it is this server and accepts our credentials.
    fn ask(&self) -> Result<()>;

    /// Installs what is missing; nothing, if all is there.
    fn install(&self, home: &Home) -> Result<()>;

    /// Prepares the data directory where that hasn't been done, and starts the server without waiting for it.
    fn start(&self, home: &Home) -> Result<Child>;

    /// The signal that ends it soon and in order.
    fn stop_signal(&self) -> &'static str {
        "TERM"
    }
}

fn up(services: &[&dyn Service]) -> Result<()> {
    for service in services {
        bring_up(*service)
            .with_context(|| format!("the server `{}` could not be brought up", service.name()))?;
    }
    Ok(())
}

fn bring_up(service: &dyn Service) -> Result<()> {
    if runs(service)? {
        return Ok(());
    }
    let _alone = lock()?;
    // Another terminal may have started it while we waited for the lock.
    if runs(service)? {
        return Ok(());
    }
    let (name, port) = (service.name(), service.port());
    let home = home(service);
    home.create()?;
    service.install(&home)?;
    println!("{name}: starting on 127.0.0.1:{port}, data and log in {}", home.root().display());
    let began = Instant::now();
    let mut server = service.start(&home)?;
    let answer = until(Duration::from_mins(5), || match server.try_wait()? {
        Some(_) => Ok(()),
        None => service.ask(),
    });
    // One that has ended is asked once more: the answer, and the end of its log, say why.
    if let Err(error) = answer.and_then(|()| service.ask()) {
        bail!("{error:#}\n{}", home.end_of_log());
    }
    println!("{name}: answers after {:.1} s", began.elapsed().as_secs_f32());
    Ok(())
}

/// Whether the server is up; an error if something else has its port.
fn runs(service: &dyn Service) -> Result<bool> {
    let (name, port) = (service.name(), service.port());
    if !listens(port) {
        return Ok(false);
    }
    until(Duration::from_secs(10), || service.ask()).with_context(|| {
        format!("port {port} is taken, but not by our {name}: stop what listens there")
    })?;
    println!("{name}: runs already on 127.0.0.1:{port}");
    Ok(true)
}

fn down(services: &[&dyn Service]) -> Result<()> {
    for service in services {
        let name = service.name();
        if home(*service).stop(service.stop_signal())? {
            println!("{name}: stopped");
        } else if listens(service.port()) {
            println!("{name}: runs, but was not started from here: left alone");
        } else {
            println!("{name}: does not run");
        }
    }
    Ok(())
}

fn status(services: &[&dyn Service]) {
    for service in services {
        let state = if !listens(service.port()) {
            "down".to_owned()
        } else if let Err(error) = service.ask() {
            format!("the port is taken by something else: {error:#}")
        } else {
            format!("up      {}={}", service.variable(), service.url())
        };
        println!("{:<18}{:<8}{state}", service.name(), service.port());
    }
}

fn listens(port: u16) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
}

fn chosen(names: &[String]) -> Result<Vec<&'static dyn Service>> {
    if names.is_empty() {
        return Ok(SERVICES.to_vec());
    }
    let find = |name: &String| SERVICES.iter().copied().find(|service| service.name() == name);
    names.iter().map(|name| find(name).with_context(|| unknown(name))).collect()
}

fn unknown(name: &str) -> String {
    let known: Vec<_> = SERVICES.iter().map(|service| service.name()).collect();
    format!("no server is called `{name}`; there are {}", known.join(", "))
}

fn home(service: &dyn Service) -> Home {
    Home::at(directory().join(service.name()))
}

/// Outside the repository: the servers' own users must be able to enter it, also when the clone is below `/root`.
pub(crate) fn directory() -> PathBuf {
    std::env::var_os("OUTBOX_SERVICES_DIR")
        .map_or_else(|| PathBuf::from("/var/tmp/outbox-services"), PathBuf::from)
}

/// Two terminals must not start the same server twice.
fn lock() -> Result<File> {
    let directory = directory();
    let locked = || -> io::Result<File> {
        if !directory.is_dir() {
            fs::create_dir_all(&directory)?;
            // Whatever our umask: the servers' own users must be able to enter.
            fs::set_permissions(&directory, Permissions::from_mode(0o755))?;
        }
        let file = File::create(directory.join("lock"))?;
        file.lock()?;
        Ok(file)
    };
    locked().with_context(|| {
        format!("no writing in {}: set OUTBOX_SERVICES_DIR to another place", directory.display())
    })
}
