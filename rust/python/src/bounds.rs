//! `_core.Bounds`: a `Limits` as the engine needs it, read once and shared by all connections that it bounds.

use std::sync::Arc;
use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use socketkit_engine::admission::AdmissionLimits;
use socketkit_engine::guard::GuardLimits;
use socketkit_engine::network::Network;
use socketkit_engine::stream::WriteMarks;

/// `limits` has the attributes of `socketkit.Limits`; `connections` is how many the listener may have.
#[pyclass(frozen, module = "socketkit._core")]
pub struct Bounds {
    rules: Arc<Rules>,
}

pub struct Rules {
    pub marks: WriteMarks,
    pub close_patience: Duration,
    pub message_bytes: usize,
    /// How much of what it sent a datagram source gets back before it has proved that it receives.
    pub answer_ratio: f64,
    pub receive_buffer_bytes: usize,
    /// From the accept to the end of the first message.
    pub first_message: Duration,
    pub guard: GuardLimits,
    pub admission: AdmissionLimits,
    /// With more than this queued in all connections together, load is shed.
    pub shed_bytes: usize,
}

#[pymethods]
impl Bounds {
    #[new]
    fn new(limits: &Bound<'_, PyAny>, connections: usize) -> PyResult<Self> {
        let count = |name: &str| limits.getattr(name)?.extract::<usize>();
        let few = |name: &str| limits.getattr(name)?.extract::<u32>();
        let seconds = |name: &str| {
            let seconds = limits.getattr(name)?.extract::<f64>()?;
            Duration::try_from_secs_f64(seconds)
                .map_err(|_| PyValueError::new_err(format!("Limits.{name} must be finite and not negative")))
        };
        let trusted = limits.getattr("trusted")?.extract::<Vec<String>>()?;
        let trusted = trusted.iter().map(|text| {
            text.parse::<Network>().map_err(|why| PyValueError::new_err(format!("Limits.trusted: {text}: {why}")))
        });
        let fraction = limits.getattr("memory_shed_fraction")?.extract::<f64>()?;
        let first_message = seconds("first_message_seconds")?;
        let rules = Rules {
            marks: WriteMarks { high_bytes: count("write_high_bytes")?, low_bytes: count("write_low_bytes")? },
            close_patience: seconds("close_seconds")?,
            message_bytes: count("message_bytes")?,
            answer_ratio: limits.getattr("answer_ratio")?.extract()?,
            receive_buffer_bytes: count("receive_buffer_bytes")?,
            first_message,
            guard: GuardLimits {
                first_message,
                idle: seconds("idle_seconds")?,
                slow_window: seconds("slow_window_seconds")?,
                write_stalled: seconds("write_stalled_seconds")?,
                slowest_bytes_per_second: limits.getattr("slowest_bytes_per_second")?.extract()?,
            },
            admission: AdmissionLimits {
                connections,
                unproven: count("unproven_connections")?,
                source_connections: count("source_connections")?,
                source_unproven: count("source_unproven")?,
                source_rate_per_second: few("source_rate_per_second")?,
                source_burst: few("source_burst")?,
                penalty: seconds("penalty_seconds")?,
                penalty_most: seconds("penalty_most_seconds")?,
                penalty_active: seconds("penalty_active_seconds")?,
                penalty_sources: count("penalty_sources")?,
                trusted: trusted.collect::<PyResult<_>>()?,
            },
            shed_bytes: (count("memory_bytes")? as f64 * fraction) as usize,
        };
        Ok(Self { rules: Arc::new(rules) })
    }
}

impl Bounds {
    pub fn rules(&self) -> &Arc<Rules> {
        &self.rules
    }
}
