"""What makes a start cheap: modules in one file, releases as data, emulators by fork, and a stand-in for `typing`."""
