// A small ball circles a large one; `clock` goes from 0 to 1 for one turn.
#version 3.7;
global_settings { assumed_gamma 1.0 }

camera { location <0, 3, -7> look_at <0, 0.5, 0> }
light_source { <-6, 9, -8> color rgb 1 }
plane { y, -1 pigment { checker color rgb 0.9 color rgb 0.4 } finish { reflection 0.1 } }
sphere { <0, 0.6, 0>, 1.2 pigment { color rgb <0.7, 0.2, 0.15> } finish { phong 0.6 reflection 0.25 } }
sphere {
    <2.4, 0.4, 0>, 0.5
    pigment { color rgb <0.2, 0.4, 0.75> }
    finish { phong 0.8 }
    rotate y * 360 * clock
}
