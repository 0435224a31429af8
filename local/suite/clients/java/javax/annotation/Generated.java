package javax.annotation;

/** Stands for the only class that the generated code needs beyond what the generator's own jar has. */
public @interface Generated {
  String[] value();

  String comments() default "";
}
