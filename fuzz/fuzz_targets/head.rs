#![no_main]

kmend_fuzz::target!(head, 4 << 10, 8);
