#![no_main]

kmend_fuzz::target!(journal, 4 << 20, 1024);
