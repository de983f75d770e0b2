//! OpenMetrics 1.0 text. The prometheus crate writes only the older format, and differs in three
//! things: a counter's family is named without `_total`, `le` is written as a float, and the text
//! ends in `# EOF`.

use std::fmt::Write;

use prometheus::proto::{LabelPair, Metric, MetricFamily, MetricType};

pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Whether a client asks for it.
pub(super) fn is_accepted(accept: &str) -> bool {
    accept.split(',').any(|kind| {
        let mut parts = kind.split(';').map(str::trim);
        let wanted = parts.next() == Some("application/openmetrics-text");
        wanted && !parts.any(|part| matches!(part, "q=0" | "q=0.0" | "version=0.0.1"))
    })
}

pub(super) fn encode(families: &[MetricFamily]) -> String {
    let mut text = String::new();
    for family in families {
        // Writing to a String cannot fail.
        let _ = write_family(&mut text, family);
    }
    text.push_str("# EOF\n");
    text
}

fn write_family(text: &mut String, family: &MetricFamily) -> std::fmt::Result {
    let full = family.name();
    let (name, kind) = match (family.get_field_type(), full.strip_suffix("_total")) {
        (MetricType::COUNTER, Some(name)) => (name, "counter"),
        (MetricType::GAUGE, _) => (full, "gauge"),
        (MetricType::HISTOGRAM, _) => (full, "histogram"),
        _ => (full, "unknown"),
    };
    writeln!(text, "# TYPE {name} {kind}")?;
    writeln!(text, "# HELP {name} {}", escape(family.help()))?;
    for metric in family.get_metric() {
        match family.get_field_type() {
            MetricType::COUNTER => sample(text, full, metric, metric.get_counter().get_value())?,
            MetricType::GAUGE => sample(text, full, metric, metric.get_gauge().get_value())?,
            MetricType::HISTOGRAM => histogram(text, name, metric)?,
            // Nobody here makes the other kinds.
            _ => {}
        }
    }
    Ok(())
}

fn sample(text: &mut String, name: &str, metric: &Metric, value: f64) -> std::fmt::Result {
    text.push_str(name);
    labels(text, metric.get_label(), None)?;
    writeln!(text, " {}", number(value))
}

fn histogram(text: &mut String, name: &str, metric: &Metric) -> std::fmt::Result {
    let histogram = metric.get_histogram();
    let mut line = |suffix: &str, le: Option<&str>, value: &str| {
        write!(text, "{name}{suffix}")?;
        labels(text, metric.get_label(), le)?;
        writeln!(text, " {value}")
    };
    for bucket in histogram.get_bucket() {
        let bound = bucket.upper_bound();
        if bound.is_finite() {
            let count = bucket.cumulative_count().to_string();
            line("_bucket", Some(&float(bound)), &count)?;
        }
    }
    let count = histogram.get_sample_count().to_string();
    line("_bucket", Some("+Inf"), &count)?;
    line("_sum", None, &number(histogram.get_sample_sum()))?;
    line("_count", None, &count)
}

fn labels(text: &mut String, pairs: &[LabelPair], le: Option<&str>) -> std::fmt::Result {
    if pairs.is_empty() && le.is_none() {
        return Ok(());
    }
    let pairs = pairs.iter().map(|pair| (pair.name(), pair.value()));
    for (index, (name, value)) in pairs.chain(le.map(|le| ("le", le))).enumerate() {
        let start = if index == 0 { '{' } else { ',' };
        write!(text, "{start}{name}=\"{}\"", escape(value))?;
    }
    text.push('}');
    Ok(())
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n").replace('"', "\\\"")
}

fn number(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    value.to_string()
}

fn float(value: f64) -> String {
    format!("{value:?}")
}

#[cfg(test)]
mod tests {
    use prometheus::Registry;

    use super::*;
    use crate::telemetry::metrics::{Family, Single};

    #[test]
    fn it_reads_as_the_standard_says() {
        let registry = Registry::new();
        Family::counter(&registry, "repairs_total", "Repairs, \"all\".", &["mender"])
            .with_label_values(&["a\\b\"c\n"])
            .inc_by(2);
        Single::gauge(&registry, "open", "Open.").set(3);
        Single::histogram(&registry, "latency_seconds", "Time.", &[0.5, 1.0]).observe(0.7);
        let text = encode(&registry.gather());
        let expected = r##"# TYPE kmend_latency_seconds histogram
# HELP kmend_latency_seconds Time.
kmend_latency_seconds_bucket{le="0.5"} 0
kmend_latency_seconds_bucket{le="1.0"} 1
kmend_latency_seconds_bucket{le="+Inf"} 1
kmend_latency_seconds_sum 0.7
kmend_latency_seconds_count 1
# TYPE kmend_open gauge
# HELP kmend_open Open.
kmend_open 3
# TYPE kmend_repairs counter
# HELP kmend_repairs Repairs, \"all\".
kmend_repairs_total{mender="a\\b\"c\n"} 2
# EOF
"##;
        assert_eq!(text, expected);
    }

    #[test]
    fn it_is_given_only_to_who_asks() {
        assert!(is_accepted("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"));
        assert!(!is_accepted("*/*"));
        assert!(!is_accepted("text/plain"));
        assert!(!is_accepted("application/openmetrics-text;q=0"));
    }
}
