#![no_main]

kmend_fuzz::target!(frame, 1 << 10, 8);
