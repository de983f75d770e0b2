#![no_main]

kmend_fuzz::target!(groups, 8 << 20, 1024);
