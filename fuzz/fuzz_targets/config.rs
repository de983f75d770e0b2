#![no_main]

kmend_fuzz::target!(config, 8 << 20, 4096);
